"""Examples of distgrad.autograd."""

import numpy as np

import distgrad as dg
from distgrad import autograd, nn

x = dg.tensor([1.0, 2.0], requires_grad=True)

# Examples

# REGISTRY, Op: every op by its name
tanh = autograd.REGISTRY["tanh"]
isinstance(tanh, autograd.Op), tanh.signatures, len(autograd.REGISTRY) > 150

# Array: what a Tensor holds
isinstance(x, autograd.Tensor), type(x.array), autograd.Array is np.ndarray or autograd.Array


# Function: PyTorch's way to write an operation with its own gradient
class Double(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


Double.apply(x).sum().backward()
x.grad


# Joint: one closure for the gradients of all inputs
@dg.op("n, n -> n")
def example_product(a, b):
    """The product, whose gradients share their work."""
    return a * b, autograd.Joint(lambda wanted, g: (g * b, g * a))


example_product(x, x).sum().backward()
del autograd.REGISTRY["example_product"]
x.grad

# RemovableHandle: ends a hook
handle = x.register_hook(lambda g: 10 * g)
(x**2).sum().backward()
hooked = x.grad.clone()
handle.remove()
isinstance(handle, autograd.RemovableHandle), hooked

# backward
autograd.backward([(x**2).sum(), (3 * x).sum()])
x.grad

# checkpoint: computed again in backward, to save memory
layer = nn.Linear(2, 2)
autograd.checkpoint(lambda y: layer(y).tanh(), x).sum().backward()
x.grad.shape

# checkpoint_sequential
layers = [nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1), nn.Tanh()]
autograd.checkpoint_sequential(layers, 2, x).backward()
x.grad.shape

autograd.grad((x**3).sum(), x)
