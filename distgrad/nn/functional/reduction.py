"""What every loss does at its ends: targets beside inputs, and the reduction."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import numpy as np

from distgrad import ops
from distgrad.autograd.promotion import operands
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import one_of
from distgrad.nn.functional.wrap import same_shape, wrap, wrap_real
from distgrad.ops.helpers import fractional, mean_count
from distgrad.ops.reduction import check_reduction

Reduction: TypeAlias = Annotated[str, one_of("mean", "sum", "none")]


def reduce_loss(loss: Any, reduction: str) -> Tensor:
    """Return the mean, the sum or the losses as they are. Errors: ShapeError for another name."""
    if loss.dtype.kind == "c":
        raise ShapeError(f"a loss is a real number; this one is {loss.dtype}: check its weights")
    check_reduction(reduction)
    result: Tensor = loss
    if reduction != "none":
        result = ops.mean(loss) if reduction == "mean" else _sum(loss, None)
    return result


def mean_over(loss: Any, n: int | Array) -> Tensor:
    """Return the sum of ``loss`` over ``n``, a number of samples or a sum of weights."""
    return _sum(loss, 1 / mean_count(n))


def _sum(loss: Any, scale: float | Array | None) -> Tensor:
    half = loss.dtype == np.float16
    # As in PyTorch: what fits float16 does not overflow on the way.
    wide = loss.astype(np.float32) if half else loss
    total: Any = np.sum(wide)
    total = total if scale is None else total * np.asarray(scale, fractional(wide.dtype))
    result: Tensor = total.astype(np.float16) if half else total
    return result


def beside(input: Tensor, other: TensorLike) -> Tensor:
    """Return ``other`` as a Tensor; whole numbers in the input's dtype, as they are no float64."""
    other = wrap(other)
    return other if other.dtype.kind in "fc" else other.astype(input.dtype)


def compared(name: str, input: TensorLike, target: TensorLike) -> tuple[Tensor, Tensor]:
    """Return both as Tensors of one shape and dtype, of real numbers.

    Errors: ShapeError, with the caller's ``name``.
    """
    x, y = wrap(input), wrap(target)
    a, b = x.array, y.array
    if a.dtype is b.dtype and a.dtype.kind == "f" and a.shape == b.shape:  # the short way
        return x, y
    x, y = same_shape(name, wrap_real(name, x), wrap_real(name, y))
    return operands(x, y)
