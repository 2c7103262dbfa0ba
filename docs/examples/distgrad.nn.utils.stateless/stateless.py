"""Examples of distgrad.nn.utils.stateless."""

from distgrad import nn
from distgrad.nn.utils import stateless

# Examples

# stack_module_state: an ensemble
parameters, buffers = stateless.stack_module_state([nn.Linear(2, 1) for _ in range(3)])
parameters["weight"].shape
