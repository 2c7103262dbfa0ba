"""Pooling over one, two and three axes; the batch axis may be missing.

Settings are numbers, or one for each axis; a stride of None is the kernel's size. With
``ceil_mode`` the last window may reach over the end. Settings that do not fit raise ShapeError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import fixed, keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.autograd.whole import whole
from distgrad.nn.functional.spatial import batched
from distgrad.nn.functional.wrap import in_float32
from distgrad.ops.geometry import Numbers, numbers
from distgrad.ops.interpolate import part_taps
from distgrad.ops.pool import find_largest, flat_index, part_elements, pool_windows, window_elements

Setting = int | Sequence[int]
Sizes = int | Sequence[int | None]


def max_pool1d(
    input: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window of (n, c, l); with ``return_indices`` also where it was."""
    settings = kernel_size, stride, padding, dilation, ceil_mode
    return _max_pool("max_pool1d", 1, input, return_indices, *settings)


def max_pool2d(
    input: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window of (n, c, h, w); the indices are those of h·w elements."""
    settings = kernel_size, stride, padding, dilation, ceil_mode
    return _max_pool("max_pool2d", 2, input, return_indices, *settings)


def max_pool3d(
    input: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest of each window of (n, c, d, h, w); the indices are those of d·h·w elements."""
    settings = kernel_size, stride, padding, dilation, ceil_mode
    return _max_pool("max_pool3d", 3, input, return_indices, *settings)


def avg_pool1d(
    input: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of (n, c, l), zeros of the padding included or not."""
    settings = kernel_size, stride, padding, ceil_mode, count_include_pad, None
    return _avg_pool("avg_pool1d", 1, input, *settings)


def avg_pool2d(
    input: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (n, c, h, w), or its sum over ``divisor_override``."""
    settings = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _avg_pool("avg_pool2d", 2, input, *settings)


def avg_pool3d(
    input: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (n, c, d, h, w), or its sum over ``divisor_override``."""
    settings = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    return _avg_pool("avg_pool3d", 3, input, *settings)


@in_float32
def lp_pool1d(
    input: TensorLike,
    norm_type: float,
    kernel_size: Setting,
    stride: Setting | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """(Σ xᵖ)^(1/p) of each window of (n, c, l); p is ``norm_type`` and may be infinite."""
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


@in_float32
def lp_pool2d(
    input: TensorLike,
    norm_type: float,
    kernel_size: Setting,
    stride: Setting | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """(Σ xᵖ)^(1/p) of each window of (n, c, h, w); p is ``norm_type`` and may be infinite."""
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


@in_float32
def lp_pool3d(
    input: TensorLike,
    norm_type: float,
    kernel_size: Setting,
    stride: Setting | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """(Σ xᵖ)^(1/p) of each window of (n, c, d, h, w); p is ``norm_type`` and may be infinite."""
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)


def adaptive_max_pool1d(input: TensorLike, output_size: Sizes, return_indices: bool = False) -> Any:
    """The largest of each of ``output_size`` even parts of (n, c, l)."""
    return _adaptive_max("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input: TensorLike, output_size: Sizes, return_indices: bool = False) -> Any:
    """The largest of each of ``output_size`` even parts of (n, c, h, w); None: as many as given."""
    return _adaptive_max("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input: TensorLike, output_size: Sizes, return_indices: bool = False) -> Any:
    """The largest of each of ``output_size`` even parts of (n, c, d, h, w)."""
    return _adaptive_max("adaptive_max_pool3d", 3, input, output_size, return_indices)


def adaptive_avg_pool1d(input: TensorLike, output_size: Sizes) -> Tensor:
    """The mean of each of ``output_size`` even parts of (n, c, l)."""
    return _adaptive_avg("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: TensorLike, output_size: Sizes) -> Tensor:
    """The mean of each of ``output_size`` even parts of (n, c, h, w); None: as many as given."""
    return _adaptive_avg("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input: TensorLike, output_size: Sizes) -> Tensor:
    """The mean of each of ``output_size`` even parts of (n, c, d, h, w)."""
    return _adaptive_avg("adaptive_avg_pool3d", 3, input, output_size)


def _max_pool(
    name: str,
    axes: int,
    x: TensorLike,
    return_indices: bool,
    kernel_size: Setting,
    stride: Setting | None,
    padding: Setting,
    dilation: Setting,
    ceil_mode: bool,
) -> Any:
    def call(x: Tensor) -> Any:
        if return_indices:
            windows = pool_windows(axes, kernel_size, stride, padding, dilation)
            elements = window_elements(x.shape[2:], windows, ceil_mode)
            return _with_indices(x, [*map(fixed, elements)])
        return ops.max_pool(
            x,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
        )

    return batched(name, axes, x, call)


@whole
@keeps_form
def _with_indices(x: Tensor, elements: Sequence[Array]) -> tuple[Tensor, Tensor]:
    _, place = find_largest(x.array, elements)
    index = flat_index(place, math.prod(x.shape[2:]))
    return x.reshape((x.size,))[index], Tensor(place)


def _avg_pool(
    name: str,
    axes: int,
    x: TensorLike,
    kernel_size: Setting,
    stride: Setting | None,
    padding: Setting,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    def call(x: Tensor) -> Any:
        return ops.avg_pool(
            x,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            divisor_override=divisor_override,
        )

    result: Tensor = batched(name, axes, x, call)
    return result


def _lp_pool(
    name: str,
    axes: int,
    x: TensorLike,
    norm_type: float,
    kernel_size: Setting,
    stride: Setting | None,
    ceil_mode: bool,
) -> Tensor:
    def call(x: Tensor) -> Any:
        if math.isinf(norm_type):
            sign = math.copysign(1, norm_type)  # the largest or the smallest
            largest: Any = ops.max_pool(
                abs(x) * sign, kernel_size=kernel_size, stride=stride, ceil_mode=ceil_mode
            )
            return largest * sign
        # PyTorch's: a mean times the kernel's size, so that a window over the end counts for more.
        count = math.prod(numbers(kernel_size, axes, "kernel_size"))
        means: Any = ops.avg_pool(
            x**norm_type, kernel_size=kernel_size, stride=stride, ceil_mode=ceil_mode
        )
        return np.power(means * count, 1.0 / norm_type)

    result: Tensor = batched(name, axes, x, call)
    return result


def _adaptive_max(
    name: str, axes: int, x: TensorLike, output_size: Sizes, return_indices: bool
) -> Any:
    def call(x: Tensor) -> Any:
        size = _sizes(output_size, x.shape[2:])
        if return_indices:
            return _with_indices(x, [*map(fixed, part_elements(x.shape[2:], size))])
        return ops.adaptive_max_pool(x, output_size=size)

    return batched(name, axes, x, call)


def _adaptive_avg(name: str, axes: int, x: TensorLike, output_size: Sizes) -> Tensor:
    def call(x: Tensor) -> Any:
        sizes = _sizes(output_size, x.shape[2:])
        if set(sizes) == {1}:
            return ops.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)
        for axis, size in enumerate(sizes, start=2):
            index, weight = part_taps(x.shape[axis], size)
            x = ops.resample(x, index=fixed(index), weight=fixed(weight), axis=axis)
        return x

    result: Tensor = batched(name, axes, x, call)
    return result


def _sizes(output_size: Sizes, lengths: Numbers) -> Numbers:
    if isinstance(output_size, Sequence) and len(output_size) == len(lengths):
        output_size = [n if s is None else s for s, n in zip(output_size, lengths, strict=True)]
    return numbers(output_size, len(lengths), "output_size")
