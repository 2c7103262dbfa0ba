"""Norms of weights and the power iteration for their largest singular value."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.nn import init


def norm_except(v: Any, dim: int | None) -> Any:
    """Return the norms over all axes but ``dim``, kept as length 1; of all elements with None."""
    if dim is None or dim == -1:  # -1 is None in PyTorch's own function, too
        return np.sqrt(np.sum(v * v))
    return np.sqrt(np.sum(v * v, axis=tuple(i for i in range(v.ndim) if i != dim), keepdims=True))


def as_matrix(weight: Any, dim: int) -> Any:
    """Return the weight as (length of axis ``dim``, all the others). Errors: ShapeError."""
    if not -weight.ndim <= dim < weight.ndim or weight.ndim < 2:
        raise ShapeError(f"a weight of shape {weight.shape} is no matrix with an axis dim={dim}")
    return np.reshape(np.moveaxis(weight, dim, 0), (weight.shape[dim], -1))


def normalized(x: Array, eps: float) -> Array:
    """Return x / max(‖x‖, ε)."""
    unit: Array = x / max(float(np.sqrt(np.dot(x, x))), eps)
    return unit.astype(x.dtype, copy=False)


def random_direction(size: int, dtype: Any, eps: float) -> Array:
    """Return a random vector of length 1, the same on every rank."""
    direction = Tensor(np.zeros(size, dtype))
    init.normal_(direction)
    return normalized(direction.array, eps)


def power_iteration(matrix: Array, v: Array, times: int, eps: float) -> tuple[Array, Array]:
    """Return the left and right singular vectors, improved ``times`` times; ``v`` stays."""
    for _ in range(times):
        u = normalized(matrix @ v, eps)
        v = normalized(matrix.T @ u, eps)
    return u, v
