"""Normalisations over the batch and over axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.tensor import Array, Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import optional, wrap


def layer_norm(
    x: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise the last axes, of lengths ``normalized_shape``. Errors: ShapeError if others."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    x = wrap(x)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"layer_norm over {shape} needs an input that ends in these axes; got {x.shape}"
        )
    result: Tensor = ops.layer_norm(x, optional(weight), optional(bias), axes=len(shape), eps=eps)
    return result


def batch_norm(
    x: TensorLike,
    running_mean: TensorLike,
    running_var: TensorLike,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise (n, c, …) with given statistics of shape (c,): batch-norm in evaluation."""
    x = wrap(x)
    column = (-1,) + (1,) * (x.ndim - 2)
    scale: Any = 1 / np.sqrt(wrap(running_var) + eps)
    scale = scale if weight is None else scale * wrap(weight)
    shift = -wrap(running_mean) * scale
    shift = shift if bias is None else shift + wrap(bias)
    result: Tensor = x * scale.reshape(column) + shift.reshape(column)
    return result


def batch_norm_training(
    x: TensorLike,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Array, Array]:
    """Normalise (n, c, …) with its own statistics; return also them: mean, variance (biased)."""
    y, mean, var = ops.batch_norm(wrap(x), optional(weight), optional(bias), eps=eps)
    return y, mean.data, var.data
