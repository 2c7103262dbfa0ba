"""What every loss does at its ends: targets beside inputs, and the reduction."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.nn.functional.wrap import same_shape, wrap
from distgrad.ops.reduction import reduced, scale_of


def reduce_loss(loss: Any, reduction: str) -> Tensor:
    """Return the mean, the sum or the losses as they are. Errors: ShapeError for another name."""
    result: Tensor = reduced(loss, reduction, scale_of(loss, reduction))
    return result


def beside(input: Tensor, other: TensorLike) -> Tensor:
    """Return ``other`` as a Tensor; whole numbers in the input's dtype, as they are no float64."""
    other = wrap(other)
    return other if other.dtype.kind == "f" else other.astype(input.dtype)


def compared(name: str, input: TensorLike, target: TensorLike) -> tuple[Tensor, Tensor]:
    """Return both as Tensors of one shape. Errors: ShapeError, with the caller's ``name``."""
    x, y = same_shape(name, input, target)
    return x, beside(x, y)
