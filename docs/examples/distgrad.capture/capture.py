"""Examples of distgrad.capture."""

import numpy as np

import distgrad as dg
from distgrad.capture import CapturedStep, Program

# Examples


# CapturedStep, Program: what a decorated function becomes, and what it has recorded
@dg.capture
def step(x):
    return (dg.as_tensor(x) * 3).sum()


step(np.ones(3, "f4"))
print(isinstance(step, CapturedStep), isinstance(step.program, Program))
step(np.full(3, 2, "f4"))
