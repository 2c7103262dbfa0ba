"""Products with weight matrices."""

from __future__ import annotations

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import optional, wrap


def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """x Wᵀ + b over the last axis: (…, in) to (…, out), W of shape (out, in)."""
    result: Tensor = ops.linear(wrap(input), wrap(weight), optional(bias))
    return result


def bilinear(
    input1: TensorLike,
    input2: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
) -> Tensor:
    """x₁ᵀ Wₒ x₂ + bₒ over the last axes: (…, in1), (…, in2) to (…, out); W is (out, in1, in2).

    Errors: ShapeError if the other axes of the inputs differ, or W does not fit.
    """
    x, y, w = wrap(input1), wrap(input2), wrap(weight)
    if x.shape[:-1] != y.shape[:-1] or not x.ndim:
        raise ShapeError(
            f"bilinear takes inputs that differ in their last axis only; got {x.shape} and "
            f"{y.shape}: broadcast one to the other"
        )
    if w.ndim != 3 or w.shape[1:] != (x.shape[-1], y.shape[-1]):
        raise ShapeError(
            f"bilinear: weight is (out, in1, in2), here (out, {x.shape[-1]}, {y.shape[-1]}) as the "
            f"inputs are {x.shape} and {y.shape}; got {w.shape}"
        )
    result: Tensor = ops.einsum("...i,oij,...j->...o", x, w, y)
    return result if bias is None else result + wrap(bias)
