"""How layers make their parameters."""

from __future__ import annotations

import math

import numpy as np

from distgrad.nn import init
from distgrad.nn.module import Parameter


def empty(*shape: int) -> Parameter:
    """Return a float32 parameter of ``shape``, to be initialised."""
    return Parameter(np.zeros(shape, np.float32))


def constant(value: float, *shape: int) -> Parameter:
    """Return a float32 parameter of ``shape`` filled with ``value``."""
    return Parameter(np.full(shape, value, np.float32))


def uniform_bias(size: int, fan_in: int) -> Parameter:
    """Return a bias drawn from U(-1/√fan_in, 1/√fan_in), PyTorch's default."""
    bias = empty(size)
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    init.uniform_(bias, -bound, bound)
    return bias
