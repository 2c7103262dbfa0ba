"""Windows of images as columns and back; channels as pixels and back."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.nn.functional.spatial import batched
from distgrad.nn.functional.wrap import wrap
from distgrad.ops.geometry import numbers

Setting = int | Sequence[int]


def unfold(
    input: TensorLike,
    kernel_size: Setting,
    dilation: Setting = 1,
    padding: Setting = 0,
    stride: Setting = 1,
) -> Tensor:
    """The windows of (n, c, h, w) or (c, h, w) as columns: (n, c · kernel, windows).

    Errors: ShapeError for a window that does not fit.
    """
    settings = _settings(kernel_size, dilation, padding, stride)
    result: Tensor = batched("unfold", 2, input, lambda input: ops.unfold(input, **settings))
    return result


def fold(
    input: TensorLike,
    output_size: Setting,
    kernel_size: Setting,
    dilation: Setting = 1,
    padding: Setting = 0,
    stride: Setting = 1,
) -> Tensor:
    """Add the columns of ``unfold``, (n, c · kernel, windows), back to (n, c, *output_size).

    Errors: ShapeError for another number of columns or rows than ``output_size`` has windows.
    """
    input = wrap(input)
    if input.ndim not in {2, 3}:
        raise ShapeError(f"fold takes (n, c · kernel, windows), n or not; got {input.shape}")
    settings = _settings(kernel_size, dilation, padding, stride)
    size = numbers(output_size, 2, "output_size")
    batch = input if input.ndim == 3 else input.reshape((1, *input.shape))
    y: Tensor = ops.fold(batch, size=size, **settings)
    return y if input.ndim == 3 else y.reshape(y.shape[1:])


def pixel_shuffle(input: TensorLike, upscale_factor: int) -> Tensor:
    """(…, c r², h, w) to (…, c, h r, w r): channels become pixels (Shi et al. 2016).

    Errors: ShapeError for channels that r² does not divide.
    """
    input = wrap(input)
    r = _factor("pixel_shuffle", input, upscale_factor)
    *rest, channels, h, w = input.shape
    if channels % (r * r):
        raise ShapeError(
            f"pixel_shuffle by {r} makes one channel of {r * r}; got {channels} channels"
        )
    c, n = channels // (r * r), len(rest)
    order = (*range(n + 1), n + 3, n + 1, n + 4, n + 2)  # c h r w r
    parts, shape = (*rest, c, r, r, h, w), (*rest, c, h * r, w * r)
    return wrap(ops.reordered(input, parts=parts, order=order, shape=shape))


def pixel_unshuffle(input: TensorLike, downscale_factor: int) -> Tensor:
    """(…, c, h r, w r) to (…, c r², h, w): the inverse of ``pixel_shuffle``.

    Errors: ShapeError for sides that r does not divide.
    """
    input = wrap(input)
    r = _factor("pixel_unshuffle", input, downscale_factor)
    *rest, c, height, width = input.shape
    if height % r or width % r:
        raise ShapeError(f"pixel_unshuffle by {r} does not divide images of {height} x {width}")
    n = len(rest)
    h, w = height // r, width // r
    order = (*range(n + 1), n + 2, n + 4, n + 1, n + 3)  # c r r h w
    parts, shape = (*rest, c, h, r, w, r), (*rest, c * r * r, h, w)
    return wrap(ops.reordered(input, parts=parts, order=order, shape=shape))


def channel_shuffle(input: TensorLike, groups: int) -> Tensor:
    """(n, g c, …) with its g ``groups`` of channels dealt out in turn (Zhang et al. 2018).

    Errors: ShapeError for fewer than 3 axes, and channels that g does not divide.
    """
    x = wrap(input)
    if x.ndim < 3 or groups < 1 or x.shape[1] % groups:
        raise ShapeError(
            f"channel_shuffle takes (n, c, …) with channels that groups={groups} divides; got "
            f"{x.shape}"
        )
    return wrap(ops.take(x, indices=fixed(_dealt(x.shape[1], groups)), axis=1))


@functools.lru_cache(maxsize=64)
def _dealt(channels: int, groups: int) -> Array:
    order = np.arange(channels).reshape(groups, -1).T.reshape(-1)
    order.flags.writeable = False
    return order


native_channel_shuffle = channel_shuffle
"""PyTorch's name for the same."""


def _settings(
    kernel_size: Setting, dilation: Setting, padding: Setting, stride: Setting
) -> dict[str, Any]:
    kernel = numbers(kernel_size, 2, "kernel_size")
    return {"kernel": kernel, "dilation": dilation, "padding": padding, "stride": stride}


def _factor(name: str, x: Tensor, factor: int) -> int:
    if x.ndim < 3 or factor < 1 or factor != math.floor(factor):
        raise ShapeError(
            f"{name} takes (…, c, h, w) and a factor of at least 1; got {x.shape} and {factor}"
        )
    return factor
