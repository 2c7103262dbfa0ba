"""Interpolation: along each axis, every element of the result is a weighted sum of a few others.

One op does it for every mode, axis by axis; the modes are tables of which elements and how much.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array
from distgrad.ops.helpers import aside, either, in_float32
from distgrad.ops.pool import part_elements

Taps = tuple[Array, Array]
"""(index, weight), both (result's length, taps): which elements are added, and with what weight."""


def _cases(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3, 4))
    tables = [
        (nearest_taps(4, 7, 4 / 7), 2),
        (linear_taps(3, 2, 1.5, False), 1),
        (part_taps(4, 3), 2),
    ]
    return [((x,), {"index": i, "weight": w, "axis": axis}) for (i, w), axis in tables]


@op("... -> ...", samples=_cases, real=True)
@in_float32
def resample(x: Array, *, index: Array, weight: Array, axis: int) -> OpResult:
    """Along ``axis`` (not negative), element i becomes the sum over t of weight_it x_(index_it)."""
    length = x.shape[axis]

    def vjp(g: Array) -> Any:
        back, back_weight = aside(adjoint, index, weight, length)
        return either(resample, g, index=back, weight=back_weight, axis=axis)

    return aside(_weighted_sum, x, index, weight, axis), vjp


def adjoint(index: Array, weight: Array, length: int) -> Taps:
    """Return the taps of the gradient: for each of ``length`` elements, where it was used."""
    used, tap = np.nonzero(weight)
    source = index[used, tap]
    order = np.argsort(source, kind="stable")
    source, used, tap = source[order], used[order], tap[order]
    counts = np.bincount(source, minlength=length)
    column = np.arange(len(source)) - (np.cumsum(counts) - counts)[source]
    shape = (length, max(int(counts.max(initial=0)), 1))
    back, back_weight = np.zeros(shape, index.dtype), np.zeros(shape)
    back[source, column], back_weight[source, column] = used, weight[used, tap]
    return back, back_weight


def nearest_taps(length: int, size: int, scale: float, offset: float = 0.0) -> Taps:
    """Element ⌊(i + offset) scale⌋ alone; an ``offset`` of 1/2 is the exact middle."""
    index = np.floor((np.arange(size) + offset) * scale).astype(np.int64)
    index = np.minimum(index, length - 1)[:, None]
    return index, np.ones(index.shape)


def linear_taps(length: int, size: int, scale: float, align_corners: bool) -> Taps:
    """The two neighbours of each point, by nearness."""
    at = np.maximum(_points(size, scale, align_corners), 0.0)
    low = np.minimum(at.astype(np.int64), length - 1)
    high = np.minimum(low + 1, length - 1)
    part = np.clip(at - low, 0.0, 1.0)
    return np.stack([low, high], axis=1), np.stack([1 - part, part], axis=1)


def cubic_taps(length: int, size: int, scale: float, align_corners: bool) -> Taps:
    """The four neighbours of each point, by Keys' cubic kernel with a = -3/4 (Keys 1981)."""
    at = _points(size, scale, align_corners)
    low = np.floor(at)
    distance = np.abs((at - low)[:, None] - np.arange(-1, 3))
    index = low.astype(np.int64)[:, None] + np.arange(-1, 3)
    return np.clip(index, 0, length - 1), _cubic(distance, -0.75)


def wide_taps(length: int, size: int, scale: float, cubic: bool) -> Taps:
    """All that lie under a kernel as wide as the result's elements: no frequency folds back.

    The kernel is linear's or Keys' cubic one with a = -1/2, and what is left of it at the border is
    scaled to a sum of 1. PyTorch's ``antialias=True``.
    """
    wide = max(scale, 1.0)
    reach = wide * (2 if cubic else 1)
    centre = (np.arange(size) + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + reach + 0.5).astype(np.int64), length) - first
    tap = np.arange(max(int(count.max()), 1))
    index = first[:, None] + tap
    distance = np.abs(index - centre[:, None] + 0.5) / wide
    weight = _cubic(distance, -0.5) if cubic else np.maximum(1 - distance, 0)
    weight = np.where(tap < count[:, None], weight, 0)
    return np.minimum(index, length - 1), weight / weight.sum(axis=1, keepdims=True)


def _cubic(distance: Array, a: float) -> Array:
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


@functools.lru_cache(maxsize=64)
def part_taps(length: int, size: int) -> Taps:
    """The mean of each of ``size`` even parts: adaptive average pooling, mode "area"."""
    (index,) = part_elements((length,), (size,))
    real = np.diff(index, axis=1, prepend=-1) > 0  # shorter parts repeat their last element
    return kept(index, real / real.sum(axis=1, keepdims=True))


def kept(index: Array, weight: Array) -> Taps:
    """Return taps that nobody can change, for who keeps them."""
    index.flags.writeable = weight.flags.writeable = False
    return index, weight


def _points(size: int, scale: float, align_corners: bool) -> Array:
    """Where the result's elements lie between those of the input: middles or corners aligned."""
    i = np.arange(size)
    return np.asarray(i * scale if align_corners else (i + 0.5) * scale - 0.5)


def _weighted_sum(x: Array, index: Array, weight: Array, axis: int) -> Array:
    if x.dtype.kind not in "fc" and not (weight == 1).all():
        x = x.astype(np.float64)
    total = np.take(x, index[:, 0], axis=axis)
    _weigh(total, weight[:, 0], axis)
    for at, w in zip(index.T[1:], weight.T[1:], strict=True):
        part = np.take(x, at, axis=axis)
        _weigh(part, w, axis)
        total += part
    return total


def _weigh(part: Array, weight: Array, axis: int) -> None:
    """Multiply in place. A weight of zero takes nothing, not even of a NaN."""
    unused = weight == 0
    if unused.any():
        part[(slice(None),) * axis + (unused,)] = 0
    if (weight[~unused] != 1).any():
        column = weight.astype(part.dtype).reshape((-1,) + (1,) * (part.ndim - axis - 1))
        np.multiply(part, column, out=part)
