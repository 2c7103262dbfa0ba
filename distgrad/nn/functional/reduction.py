"""What every loss does at its ends: targets beside inputs, and the reduction."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import same_shape, wrap, wrap_real
from distgrad.ops.loss import scale_of


def reduce_loss(loss: Any, reduction: str) -> Tensor:
    """Return the mean, the sum or the losses as they are. Errors: ShapeError for another name."""
    if loss.dtype.kind == "c":
        raise ShapeError(f"a loss is a real number; this one is {loss.dtype}: check its weights")
    scale = scale_of(loss, reduction)
    if reduction == "none":
        result: Tensor = loss
    else:
        result = np.sum(loss) * scale if reduction == "mean" else np.sum(loss)
    return result


def beside(input: Tensor, other: TensorLike) -> Tensor:
    """Return ``other`` as a Tensor; whole numbers in the input's dtype, as they are no float64."""
    other = wrap(other)
    return other if other.dtype.kind in "fc" else other.astype(input.dtype)


def compared(name: str, input: TensorLike, target: TensorLike) -> tuple[Tensor, Tensor]:
    """Return both as Tensors of one shape, of real numbers.

    Errors: ShapeError, with the caller's ``name``.
    """
    x, y = same_shape(name, wrap_real(name, input), wrap_real(name, target))
    return x, beside(x, y)
