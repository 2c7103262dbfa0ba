"""Examples of distgrad.autograd.functional: PyTorch's forms, which take the inputs at once."""

import distgrad as dg
from distgrad.autograd import functional

x = dg.tensor([1.0, 2.0])
v = dg.tensor([1.0, 0.0])

# Examples

functional.hessian(lambda x: (x**3).sum(), x)

functional.hvp(lambda x: (x**3).sum(), x, v)

functional.jacobian(lambda x: x**2, x)

functional.jvp(lambda x: x**2, x, v)

functional.vhp(lambda x: (x**3).sum(), x, v)

functional.vjp(lambda x: x**2, x, v)
