"""Examples of distgrad.func: those that are not in distgrad by the same name."""

import distgrad as dg
from distgrad import func, nn

x = dg.tensor([1.0, 2.0])

# Examples

# functional_call: the model with other weights
model = nn.Linear(2, 1, bias=False)
func.functional_call(model, {"weight": dg.ones(1, 2)}, (x,))

func.grad_and_value(lambda x: (x**3).sum())(x)

func.jacfwd(lambda x: x**2)(x)

func.jacrev(lambda x: x**2)(x)

# linearize
value, push = func.linearize(lambda x: x**2, x)
value, push(dg.tensor([1.0, 0.0]))
