"""Examples of distgrad.utils.checkpoint: PyTorch's arguments."""

import distgrad as dg
from distgrad import nn
from distgrad.utils import checkpoint as recompute

x = dg.tensor([[1.0, 2.0]], requires_grad=True)

# Examples

# checkpoint
layer = nn.Linear(2, 2)
recompute.checkpoint(layer, x, use_reentrant=False).sum().backward()
x.grad.shape

# checkpoint_sequential
layers = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
recompute.checkpoint_sequential(layers, 2, x).sum().backward()
x.grad.shape
