"""Convolutions over one, two and three axes, and transposed ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.spatial import AXES, batched
from distgrad.nn.functional.wrap import optional, wrap
from distgrad.ops.geometry import numbers, windows_of

Setting = int | Sequence[int]


def conv1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Setting = 1,
    padding: Setting | str = 0,
    dilation: Setting = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (n, c, l) or (c, l) with filters (o, c / groups, x).

    ``padding`` may be "valid" (none) or "same" (as long as before; stride 1 only).
    Errors: ShapeError for shapes and settings that do not fit.
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Setting = 1,
    padding: Setting | str = 0,
    dilation: Setting = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (n, c, h, w) or (c, h, w) with filters (o, c / groups, y, x).

    Settings are numbers or (vertical, horizontal); ``padding`` and errors as in ``conv1d``.
    """
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Setting = 1,
    padding: Setting | str = 0,
    dilation: Setting = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (n, c, d, h, w) or (c, d, h, w) with filters (o, c / groups, z, y, x).

    Settings are numbers or one for each axis; ``padding`` and errors as in ``conv1d``.
    """
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Setting = 1,
    padding: Setting = 0,
    output_padding: Setting = 0,
    groups: int = 1,
    dilation: Setting = 1,
) -> Tensor:
    """The adjoint of conv1d: (n, c, l) or (c, l) with filters (c, o / groups, x).

    The result is as long as what a convolution takes to l, ``output_padding`` longer: below the
    stride or the dilation. Errors: ShapeError for shapes and settings that do not fit.
    """
    settings = stride, padding, output_padding, groups, dilation
    return _transpose("conv_transpose1d", 1, input, weight, bias, *settings)


def conv_transpose2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Setting = 1,
    padding: Setting = 0,
    output_padding: Setting = 0,
    groups: int = 1,
    dilation: Setting = 1,
) -> Tensor:
    """The adjoint of conv2d, as ``conv_transpose1d``: weight (c, o / groups, y, x)."""
    settings = stride, padding, output_padding, groups, dilation
    return _transpose("conv_transpose2d", 2, input, weight, bias, *settings)


def conv_transpose3d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Setting = 1,
    padding: Setting = 0,
    output_padding: Setting = 0,
    groups: int = 1,
    dilation: Setting = 1,
) -> Tensor:
    """The adjoint of conv3d, as ``conv_transpose1d``: weight (c, o / groups, z, y, x)."""
    settings = stride, padding, output_padding, groups, dilation
    return _transpose("conv_transpose3d", 3, input, weight, bias, *settings)


def conv_tbc(input: TensorLike, weight: TensorLike, bias: TensorLike, pad: int = 0) -> Tensor:
    """``conv1d`` of (t, b, in) with filters (x, in, out): (t', b, out)."""
    x, w = wrap(input), wrap(weight)
    if x.ndim != 3 or w.ndim != 3:
        raise ShapeError(
            f"conv_tbc takes (t, b, in) and filters (x, in, out); got {x.shape} and {w.shape}"
        )
    y = conv1d(np.transpose(x, (1, 2, 0)), np.transpose(w, (2, 1, 0)), bias, 1, pad)
    return wrap(np.transpose(y, (2, 0, 1)))


def same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """Return (before, after) for each axis that keep its length; an odd one more comes after."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [(t // 2, t - t // 2) for t in total]


def _convolve(
    name: str,
    axes: int,
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    stride: Setting,
    padding: Setting | str,
    dilation: Setting,
    groups: int,
) -> Tensor:
    weight = _filters(name, axes, weight)
    around: list[tuple[int, int]] = []
    if isinstance(padding, str):
        if padding not in {"valid", "same"}:
            raise ShapeError(f"{name}: padding is numbers, 'valid' or 'same'; got {padding!r}")
        if padding == "same":
            if numbers(stride, axes, "stride") != (1,) * axes:
                raise ShapeError(f"{name}: padding='same' needs a stride of 1; got {stride}")
            around = same_padding(weight.shape[2:], numbers(dilation, axes, "dilation"))
        padding = 0
        if all(before == after for before, after in around):
            padding, around = tuple(before for before, _ in around) or 0, []
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    def call(x: Tensor) -> Any:
        padded = ops.pad(x, [(0, 0), (0, 0), *around]) if around else x
        return ops.convolution(padded, weight, optional(bias), **settings)

    result: Tensor = batched(name, axes, x, call)
    return result


def _transpose(
    name: str,
    axes: int,
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    stride: Setting,
    padding: Setting,
    output_padding: Setting,
    groups: int,
    dilation: Setting,
) -> Tensor:
    weight = _filters(name, axes, weight)
    windows = windows_of(weight.shape[2:], stride, padding, dilation)
    more = numbers(output_padding, axes, "output_padding")
    for extra, s, d in zip(more, windows.stride, windows.dilation, strict=True):
        if not 0 <= extra < max(s, d):
            raise ShapeError(
                f"{name}: output_padding {more} must be below the stride {windows.stride} or the "
                f"dilation {windows.dilation}"
            )
    _, stride, padding, dilation = windows
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    def call(x: Tensor) -> Any:
        lengths = x.shape[2:]
        size = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + 1 + extra
            for n, k, s, p, d, extra in zip(lengths, *windows, more, strict=True)
        )
        if min(size) < 1:
            raise ShapeError(
                f"{name}: padding {windows.padding} leaves nothing: {lengths} would become {size}"
            )
        # Output padding of a stride or more makes room for windows that x does not have: zeros.
        counts = zip(windows.counts(size), lengths, strict=True)
        missing = [(0, count - n) for count, n in counts]
        padded = ops.pad(x, [(0, 0), (0, 0), *missing]) if any(m for _, m in missing) else x
        return ops.convolution_transpose(padded, weight, optional(bias), size=size, **settings)

    result: Tensor = batched(name, axes, x, call)
    return result


def _filters(name: str, axes: int, weight: TensorLike) -> Tensor:
    weight = wrap(weight)
    if weight.ndim != axes + 2:
        raise ShapeError(
            f"{name} takes filters (out, in, {AXES[axes]}); got a weight of shape {weight.shape}"
        )
    return weight
