"""Pooling of windows."""

from __future__ import annotations

from typing import Any

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.nn.functional.wrap import wrap


def max_pool2d(x: TensorLike, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The largest of each window of (n, c, h, w); the stride is the kernel's size if None."""
    result: Tensor = ops.max_pool2d(
        wrap(x), kernel_size=kernel_size, stride=stride, padding=padding
    )
    return result


def avg_pool2d(x: TensorLike, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The mean of each window of (n, c, h, w), zeros of the padding included."""
    result: Tensor = ops.avg_pool2d(
        wrap(x), kernel_size=kernel_size, stride=stride, padding=padding
    )
    return result
