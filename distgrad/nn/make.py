"""How layers make their parameters."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.dtypes import get_default_dtype
from distgrad.nn import init
from distgrad.nn.module import Parameter


def empty(*shape: int) -> Parameter:
    """Return a parameter of ``shape`` and the default dtype, to be initialised."""
    return Parameter(np.zeros(shape, get_default_dtype()))


def constant(value: float, *shape: int) -> Parameter:
    """Return a parameter of ``shape`` and the default dtype, filled with ``value``."""
    return Parameter(np.full(shape, value, get_default_dtype()))


def uniform_bias(size: int, fan_in: int) -> Parameter:
    """Return a bias drawn from U(-1/√fan_in, 1/√fan_in), PyTorch's default."""
    bias = empty(size)
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    init.uniform_(bias, -bound, bound)
    return bias
