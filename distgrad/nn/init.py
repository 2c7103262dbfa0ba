"""Initialisers: fill a tensor in place from the counter-based random numbers."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.random import generator
from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with U(a, b)."""
    tensor.data[...] = generator().uniform(a, b, tensor.shape)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with N(mean, std²)."""
    tensor.data[...] = generator().normal(mean, std, tensor.shape)
    return tensor


def constant_(tensor: Tensor, value: float) -> Tensor:
    """Fill with one value."""
    tensor.data[...] = value
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return (fan in, fan out) of a weight laid out as PyTorch's: (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"fan in and out need at least 2 axes; the tensor has shape {tensor.shape}"
        )
    field = int(np.prod(tensor.shape[2:]))
    return tensor.shape[1] * field, tensor.shape[0] * field


def kaiming_uniform_(tensor: Tensor, a: float = math.sqrt(5)) -> Tensor:
    """U(-k, k) with k = √(6 / ((1 + a²) fan_in)) (He et al. 2015); the default is nn.Linear's."""
    # A layer without inputs has no weights to fill.
    bound = math.sqrt(6.0 / ((1 + a * a) * max(fans(tensor)[0], 1)))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor) -> Tensor:
    """N(0, 2 / fan_in), for ReLU (He et al. 2015)."""
    return normal_(tensor, 0.0, math.sqrt(2.0 / fans(tensor)[0]))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """U(-k, k) with k = gain √(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """N(0, 2 gain² / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))))
