"""Products with weight matrices."""

from __future__ import annotations

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.nn.functional.wrap import optional, wrap


def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """x Wᵀ + b over the last axis: (…, in) to (…, out), W of shape (out, in)."""
    result: Tensor = ops.linear(wrap(x), wrap(weight), optional(bias))
    return result
