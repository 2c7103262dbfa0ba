"""Convolutions."""

from __future__ import annotations

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.nn.functional.wrap import optional, wrap


def conv2d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """2-D cross-correlation of (n, c, h, w) with filters (o, c / groups, y, x)."""
    result: Tensor = ops.conv2d(
        wrap(x),
        wrap(weight),
        optional(bias),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    return result
