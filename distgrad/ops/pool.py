"""Pooling over the last axes of (n, c, …): the largest or the mean of each window."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array, Ints
from distgrad.errors import ShapeError
from distgrad.ops.geometry import Numbers, Windows, numbers, output_length, windows_of
from distgrad.ops.helpers import aside, either, in_float32
from distgrad.ops.indexing import put_back
from distgrad.ops.windows import columns, fold


def _cases(rng: np.random.Generator, settings: list[dict[str, Any]]) -> list[Sample]:
    x = rng.permutation(2 * 2 * 5 * 4).reshape(2, 2, 5, 4) / 10
    shared: list[dict[str, Any]] = [
        {"kernel_size": 2},
        {"kernel_size": (3, 2), "stride": 1, "padding": 1},
        {"kernel_size": 2, "stride": (3, 2), "padding": (0, 1)},
        {"kernel_size": (3, 2), "stride": (2, 3), "ceil_mode": True},
    ]
    line, volume = {"kernel_size": 3, "stride": 2}, {"kernel_size": (2, 3, 1), "padding": (1, 1, 0)}
    others: list[Sample] = [((x[0],), line), ((x[:, None],), volume)]
    return [((x,), s) for s in shared + settings] + others


@op(
    "n c l -> n c w",
    "n c h w -> n c y x",
    "n c d h w -> n c z y x",
    samples=lambda rng: _cases(rng, [{"kernel_size": 2, "dilation": (2, 1), "stride": 1}]),
    real=True,
)
def max_pool(
    x: Array,
    *,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> OpResult:
    """The largest of each window; of equal ones the first gets the gradient (as in PyTorch)."""
    windows = pool_windows(x.ndim - 2, kernel_size, stride, padding, dilation)
    return _largest(x, window_elements(x.shape[2:], windows, ceil_mode))


@op(
    "n c l -> n c w",
    "n c h w -> n c y x",
    "n c d h w -> n c z y x",
    samples=lambda rng: [
        ((rng.permutation(2 * math.prod(s)).reshape(1, 2, *s) / 10,), {"output_size": size})
        for s, size in (((5, 4), (3, 2)), ((3,), 5), ((2, 3, 4), (1, 2, 3)))
    ],
    real=True,
)
def adaptive_max_pool(x: Array, *, output_size: Ints) -> OpResult:
    """The largest of each of ``output_size`` even parts of each axis (they may overlap by one)."""
    return _largest(x, part_elements(x.shape[2:], output_size))


@op(
    "n c l -> n c w",
    "n c h w -> n c y x",
    "n c d h w -> n c z y x",
    samples=lambda rng: _cases(
        rng,
        [
            {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
            {"kernel_size": 2, "divisor_override": 3, "ceil_mode": True},
        ],
    ),
)
@in_float32
def avg_pool(
    x: Array,
    *,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> OpResult:
    """The mean of each window, zeros of the padding included or not (PyTorch's settings)."""
    n, c, *lengths = x.shape
    windows = pool_windows(len(lengths), kernel_size, stride, padding, 1)
    counts = window_counts(lengths, windows, ceil_mode)
    if divisor_override is None:
        divisor = elements_of(lengths, windows, counts, count_include_pad).astype(x.dtype)
    elif divisor_override == 0:
        raise ShapeError("avg_pool: divisor_override divides every sum and must not be zero")
    else:
        divisor = np.asarray(divisor_override, x.dtype)
    kernel, strides, pads, _ = windows
    # With ceil_mode the last window may reach beyond the padding; without, some of it is unused.
    ends = ((m - 1) * s + k for m, s, k in zip(counts, strides, kernel, strict=True))
    after = [max(e - p - m, p) for e, p, m in zip(ends, pads, lengths, strict=True)]
    inner = windows._replace(padding=(0,) * len(pads))
    around = [*zip(pads, after, strict=True)]
    size = tuple([m + p + q for m, (p, q) in zip(lengths, around, strict=True)])
    inside = [slice(p, p + m) for p, m in zip(pads, lengths, strict=True)]
    count = math.prod(kernel)

    def vjp(g: Array) -> Any:
        spread = np.broadcast_to(np.expand_dims(g / divisor, 2), (n, c, count, *counts))
        cut = np.reshape(spread, (n, c * count, math.prod(counts)))
        return either(fold, cut, size=size, **inner._asdict())[(..., *inside)]

    divisor = fixed(divisor)
    return aside(_means, x, divisor, around, inner, counts), vjp


def _means(
    x: Array, divisor: Array, around: Sequence[Any], windows: Windows, counts: Numbers
) -> Array:
    padded = np.pad(x, [(0, 0), (0, 0), *around])
    cut = np.reshape(columns(padded, windows), (*x.shape[:2], math.prod(windows.kernel), *counts))
    return np.asarray(np.add.reduce(cut, axis=2) / divisor)


def pool_windows(
    axes: int, kernel_size: Ints, stride: Ints | None, padding: Ints, dilation: Ints = 1
) -> Windows:
    """Return the windows, a stride of None being the kernel. Errors: ShapeError."""
    kernel = numbers(kernel_size, axes, "kernel_size")
    windows = windows_of(kernel, kernel if stride is None else stride, padding, dilation)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, windows.dilation, strict=True)]
    if any(2 * p > r for p, r in zip(windows.padding, reach, strict=True)):
        raise ShapeError(
            f"padding {windows.padding} is more than half of the kernel {kernel}, so that some "
            f"windows would hold nothing but padding; use a smaller padding"
        )
    return windows


def pooled_length(
    length: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> int:
    """Return how many windows there are; with ``ceil_mode`` the last may reach over the end."""
    count = output_length(length, kernel, stride, padding, dilation)
    rest = (length + 2 * padding - dilation * (kernel - 1) - 1) % stride
    # A window that would start in the padding after the end is left out (as in PyTorch).
    return count + 1 if ceil_mode and rest and count * stride < length + padding else count


def window_elements(lengths: Sequence[int], windows: Windows, ceil_mode: bool) -> list[Array]:
    """Return for each axis which elements each window holds: (windows, kernel).

    Padding is left out: the window's first or last element stands there again.
    Errors: ShapeError for a window of padding alone.
    """
    found = []
    for length, kernel, stride, padding, dilation in zip(lengths, *windows, strict=True):
        count = pooled_length(length, kernel, stride, padding, dilation, ceil_mode)
        at = np.arange(count)[:, None] * stride - padding + np.arange(kernel) * dilation
        real = (at >= 0) & (at < length)
        if not real.any(axis=1).all():
            raise ShapeError(
                f"a window of {kernel} elements, {dilation} apart, holds nothing but padding in a "
                f"length of {length} with padding {padding}; use less padding or dilation"
            )
        rows = np.arange(count)
        first = at[rows, np.argmax(real, axis=1)][:, None]
        last = at[rows, kernel - 1 - np.argmax(real[:, ::-1], axis=1)][:, None]
        found.append(np.clip(at, first, last))
    return found


def part_elements(lengths: Sequence[int], output_size: Ints) -> list[Array]:
    """Return for each axis which elements each of its even parts holds: (parts, most elements).

    Part i of n goes from ⌊i length / n⌋ to ⌈(i + 1) length / n⌉; shorter ones repeat their last.
    """
    found = []
    sizes = numbers(output_size, len(lengths), "output_size")
    for length, size in zip(lengths, sizes, strict=True):
        if size < 1 or length < 1:
            raise ShapeError(f"{size} parts of a length of {length}: both must be at least 1")
        start = np.arange(size) * length // size
        stop = -(-(np.arange(size) + 1) * length // size)
        most = np.arange(int((stop - start).max()))
        found.append(np.minimum(start[:, None] + most, stop[:, None] - 1))
    return found


def find_largest(x: Array, elements: Sequence[Array]) -> tuple[Array, Array]:
    """Return the largest of each window and its flat index in its plane (the last axes).

    One axis after the other, the last first, so that of equal ones the first in memory's order
    wins. NaN beats everything.
    """
    lengths = x.shape[2:]
    best, place = x, np.broadcast_to(np.arange(math.prod(lengths)).reshape(lengths), x.shape)
    for axis in range(x.ndim - 1, 1, -1):
        values, places = best, place
        held = elements[axis - 2]
        best, place = (np.take(a, held[:, 0], axis=axis) for a in (values, places))
        for at in held[:, 1:].T:
            other = np.take(values, at, axis=axis)
            wins = (other > best) | ((other != other) & (best == best))
            np.copyto(best, other, where=wins)
            np.copyto(place, np.take(places, at, axis=axis), where=wins)
    return best, place


def flat_index(place: Array, plane: int) -> Array:
    """Return indices in planes as indices in the flat array of all (n, c) planes."""
    n, c, *rest = place.shape
    start = np.arange(n * c).reshape((n, c) + (1,) * len(rest)) * plane
    return np.asarray(start + place)


def _best(x: Array, elements: Sequence[Array]) -> tuple[Array, Array]:
    best, place = find_largest(x, elements)
    return best, np.reshape(flat_index(place, math.prod(x.shape[2:])), -1)


def _largest(x: Array, elements: Sequence[Array]) -> OpResult:
    size, shape, dtype = x.size, x.shape, x.dtype
    best, index = aside(_best, x, [fixed(held) for held in elements])

    def vjp(g: Array) -> Array:
        # Flat to flat: np.add.at is ten times faster there.
        d = put_back(np.reshape(g, (-1,)), index=index, shape=(size,), dtype=dtype)
        return np.reshape(d, shape)

    return best, vjp


def window_counts(lengths: Sequence[int], windows: Windows, ceil_mode: bool) -> Numbers:
    """Return how many windows there are along each axis."""
    return tuple(pooled_length(*axis, ceil_mode) for axis in zip(lengths, *windows, strict=True))


def elements_of(
    lengths: Sequence[int], windows: Windows, counts: Numbers, with_padding: bool
) -> Array:
    """Return how many elements each window has: beyond the padding nothing is counted."""
    along = []
    for length, count, kernel, stride, padding, _ in zip(lengths, counts, *windows, strict=True):
        start = np.arange(count) * stride - padding
        first, last = (-padding, length + padding) if with_padding else (0, length)
        along.append(np.minimum(start + kernel, last) - np.maximum(start, first))
    return np.asarray(functools.reduce(np.multiply.outer, along))
