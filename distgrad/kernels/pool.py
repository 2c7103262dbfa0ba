"""Twins of pooling over one, two and three axes.

A window is where it begins and ends along each axis; what has fewer axes gets more of length 1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Ints
from distgrad.errors import ShapeError
from distgrad.kernels import channels_last
from distgrad.kernels.arrays import dense, lies_last, suits
from distgrad.kernels.channels_last import Pooled
from distgrad.kernels.jit import kernel
from distgrad.kernels.scalars import empty_of
from distgrad.ops.geometry import Numbers, Windows, numbers
from distgrad.ops.pool import elements_of, pool_windows, window_counts

_AXES = 3
_MOST_PLACES = 1 << 31  # winners are kept as int32


class _Bounds(NamedTuple):
    """Where windows begin and end along three axes, and how many there are."""

    ends: tuple[Array, ...]
    counts: Numbers
    elements: dict[Numbers, Array | None]
    """What ``_elements`` found, by the lengths of the axes."""


def max_pool(
    x: Array,
    *,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> OpResult | None:
    """The twin of ``ops.max_pool``, without dilation."""
    if not suits(x) or x.ndim < _AXES:
        return None
    windows = _windows(x.ndim - 2, kernel_size, stride, padding, dilation)
    if windows.dilation.count(1) != len(windows.dilation):
        return None
    bounds = _bounds(x.shape[2:], windows, ceil_mode)
    if bounds is None:
        return None
    if x.ndim < 5 and lies_last(x):
        return _in_planes(x, windows, lambda x, w: channels_last.max_pool(x, w, ceil_mode))
    return _largest(x, bounds)


def adaptive_max_pool(x: Array, *, output_size: Ints) -> OpResult | None:
    """The twin of ``ops.adaptive_max_pool``."""
    if not suits(x) or x.ndim < _AXES:
        return None
    sizes = numbers(output_size, x.ndim - 2, "output_size")
    windows = _even(x.shape[2:], sizes)
    if windows is not None and x.ndim < 5 and lies_last(x):
        return _in_planes(x, windows, lambda x, w: channels_last.max_pool(x, w, False))
    if set(sizes) == {1}:
        return _largest_of_all(x)
    return _largest(x, _parts(x.shape[2:], sizes)) if min(sizes) > 0 else None


def avg_pool(
    x: Array,
    *,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> OpResult | None:
    """The twin of ``ops.avg_pool``."""
    if not suits(x) or x.ndim < _AXES:
        return None
    windows = _windows(x.ndim - 2, kernel_size, stride, padding, 1)
    bounds = _bounds(x.shape[2:], windows, ceil_mode)
    if bounds is None or divisor_override == 0:
        return None
    if x.ndim < 5 and lies_last(x):
        settings = ceil_mode, count_include_pad, divisor_override
        return _in_planes(x, windows, lambda x, w: channels_last.avg_pool(x, w, *settings))
    shares = _shares(x.shape[2:], windows, ceil_mode, count_include_pad, divisor_override, x.dtype)
    shape, dtype = x.shape, x.dtype
    y = np.empty((*shape[:2], *bounds.counts), dtype)
    _mean(_volumes(x), *bounds.ends, shares, _volumes(y))

    def vjp(g: Array) -> Array:
        d = np.zeros(shape, dtype)
        _mean_back(_volumes(g), *bounds.ends, shares, _volumes(d))
        return d

    return y, vjp


def _in_planes(x: Array, windows: Windows, pool: Callable[[Array, Windows], Pooled]) -> Pooled:
    """Pool over two axes; where there is one, the first of the two has length 1."""
    if x.ndim == 4:
        return pool(x, windows)
    kernel, steps, pads, _ = windows
    y, vjp = pool(x[:, :, None], Windows((1, *kernel), (1, *steps), (0, *pads), (1, 1)))
    return y[:, :, 0], lambda g: vjp(g[:, :, None])[:, :, 0]


def _windows(axes: int, *settings: Any) -> Windows:
    try:
        return _known_windows(axes, *settings)
    except TypeError:  # a list
        return pool_windows(axes, *settings)


_known_windows = functools.lru_cache(maxsize=128)(pool_windows)


@functools.lru_cache(maxsize=128)
def _bounds(lengths: Numbers, windows: Windows, ceil_mode: bool) -> _Bounds | None:
    counts = window_counts(lengths, windows, ceil_mode)
    first, last = [], []
    for length, count, k, s, p, _ in zip(lengths, counts, *windows, strict=True):
        start = np.arange(count) * s - p
        first.append(np.maximum(start, 0))
        last.append(np.minimum(start + k, length))
    if any((b >= e).any() for b, e in zip(first, last, strict=True)):
        return None  # padding alone: the reference says so
    return _Bounds(_filled(first, last), counts, {})


@functools.lru_cache(maxsize=128)
def _parts(lengths: Numbers, sizes: Numbers) -> _Bounds:
    pairs = [(np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m))
             for n, m in zip(lengths, sizes, strict=True)]  # fmt: skip
    return _Bounds(_filled(*map(list, zip(*pairs, strict=True))), sizes, {})


def _even(lengths: Numbers, sizes: Numbers) -> Windows | None:
    """Return the windows of parts of one length, side by side; None where parts differ."""
    if min(sizes) < 1 or any(n % m for n, m in zip(lengths, sizes, strict=True)):
        return None
    parts = tuple([n // m for n, m in zip(lengths, sizes, strict=True)])
    return _windows(len(parts), parts, parts, 0, 1)


def _filled(first: Sequence[Array], last: Sequence[Array]) -> tuple[Array, ...]:
    more = _AXES - len(first)
    zeros, ones = [np.zeros(1, np.int64)] * more, [np.ones(1, np.int64)] * more
    return tuple(np.ascontiguousarray(a, np.int64) for a in (*zeros, *first, *ones, *last))


@functools.lru_cache(maxsize=128)
def _shares(
    lengths: Numbers,
    windows: Windows,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    dtype: np.dtype[np.floating],
) -> Array:
    """What each window's sum is multiplied by."""
    counts = window_counts(lengths, windows, ceil_mode)
    if divisor_override is not None:
        return np.full(math.prod(counts), 1 / divisor_override, dtype)
    divisor = elements_of(lengths, windows, counts, count_include_pad)
    return np.array(1 / divisor, dtype).reshape(-1)


def _volumes(x: Array) -> Array:
    """Return (n, c, …) as (planes, d, h, w)."""
    n, c, *lengths = x.shape
    return dense(x).reshape(n * c, *(1,) * (_AXES - len(lengths)), *lengths)


_NARROW = 16  # lines shorter than that are not worth to be gone over by themselves
_MOST_ELEMENTS = 1 << 16  # of the windows of a plane, in all, that are written down


def _elements(lengths: Numbers, bounds: _Bounds) -> Array | None:
    """Return the places in a plane of each window's first element, second, …: (kernel, windows).

    Shorter windows repeat their last. None for more than are worth to be kept.
    """
    if lengths in bounds.elements:
        return bounds.elements[lengths]
    first, last = bounds.ends[:_AXES], bounds.ends[_AXES:]
    most = [int((e - b).max()) for b, e in zip(first, last, strict=True)]
    found = None
    if math.prod(most) * math.prod(bounds.counts) <= _MOST_ELEMENTS:
        found = np.zeros((*most, *map(len, first)), np.uint64)
        sizes = (1,) * (_AXES - len(lengths)) + lengths
        for axis, (b, e, n) in enumerate(zip(first, last, most, strict=True)):
            along = np.minimum(b + np.arange(n)[:, None], e - 1) * math.prod(sizes[axis + 1 :])
            form = [1] * (2 * _AXES)
            form[axis], form[_AXES + axis] = along.shape
            found += along.reshape(form).astype(np.uint64)
        found = found.reshape(math.prod(most), -1)
    bounds.elements[lengths] = found
    return found


def _largest(x: Array, bounds: _Bounds) -> OpResult:
    y = np.empty((*x.shape[:2], *bounds.counts), x.dtype)
    winners = np.empty(y.shape, np.int32)  # index in the plane
    if math.prod(x.shape[2:]) >= _MOST_PLACES:
        raise ShapeError(f"max-pooling of planes of 2 ** 31 elements and more: {x.shape}")
    shape, planes = x.shape, x.shape[0] * x.shape[1]
    at = _elements(shape[2:], bounds) if shape[-1] < _NARROW else None
    if at is not None:
        rows = (a.reshape(planes, -1) for a in (dense(x), y, winners))
        _find_at(at, *rows)
    else:
        _find(_volumes(x), *bounds.ends, _volumes(y), _volumes(winners))

    def vjp(g: Array) -> Array:
        d = np.zeros(shape, g.dtype)
        _put(dense(g).reshape(planes, -1), winners.reshape(planes, -1), d.reshape(planes, -1))
        return d

    return y, vjp


def _largest_of_all(x: Array) -> OpResult:
    shape, ones = x.shape, (1,) * (x.ndim - 2)
    count = shape[0] * shape[1]
    planes = dense(x).reshape(count, -1)
    winners = planes.argmax(axis=1).reshape(-1, 1)  # NumPy's: the first NaN, else the first largest

    def vjp(g: Array) -> Array:
        d = np.zeros(shape, g.dtype)
        np.put_along_axis(d.reshape(count, -1), winners, g.reshape(-1, 1), 1)
        return d

    return np.take_along_axis(planes, winners, 1).reshape((*shape[:2], *ones)), vjp


@kernel
def _find(
    x: Array, d0: Array, h0: Array, w0: Array, d1: Array, h1: Array, w1: Array,
    y: Array, winners: Array,
) -> None:  # fmt: skip
    height, width = x.shape[2], x.shape[3]
    top, place = empty_of(width, x.dtype), empty_of(width, np.int32)
    for p in range(x.shape[0]):
        for k in range(d0.size):
            for i in range(h0.size):
                # The largest of each column, all columns at once; then that of each window's.
                for c in range(d0[k], d1[k]):
                    for a in range(h0[i], h1[i]):
                        line = x[p, c, a]
                        start = np.int32((c * height + a) * width)
                        if c == d0[k] and a == h0[i]:
                            for b in range(width):
                                top[b], place[b] = line[b], start + np.int32(b)
                        else:
                            _keep_larger(line, start, top, place)
                _largest_of_columns(top, place, w0, w1, y[p, k, i], winners[p, k, i])


@kernel
def _keep_larger(line: Array, start: int, top: Array, place: Array) -> None:
    for b in range(line.size):
        v, best = line[b], top[b]
        # The first of equal ones wins; NaN beats everything, the first NaN all.
        wins = (v > best) | ((v != v) & (best == best))
        top[b] = v if wins else best
        place[b] = start + np.int32(b) if wins else place[b]


@kernel
def _largest_of_columns(
    top: Array, place: Array, w0: Array, w1: Array, y: Array, winners: Array
) -> None:
    for j in range(w0.size):
        left = w0[j]
        best, where = top[left], place[left]
        for b in range(left + 1, w1[j]):
            v, at = top[b], place[b]
            # No branches: which one wins cannot be predicted.
            alike = (v == best) | ((v != v) & (best != best))
            wins = (v > best) | ((v != v) & (best == best)) | (alike & (at < where))
            best = v if wins else best
            where = at if wins else where
        y[j] = best
        winners[j] = where


@kernel
def _find_at(at: Array, x: Array, y: Array, winners: Array) -> None:
    # All windows of a plane at once: their first elements, then the second ones, ….
    for p in range(x.shape[0]):
        row, top, where = x[p], y[p], winners[p]
        for j in range(top.size):
            top[j], where[j] = row[at[0, j]], np.int32(at[0, j])
        for t in range(1, at.shape[0]):
            places = at[t]
            for j in range(top.size):
                v, best, place, old = row[places[j]], top[j], np.int32(places[j]), where[j]
                wins = (v > best) | ((v != v) & (best == best))
                top[j] = v if wins else best
                where[j] = place if wins else old


@kernel
def _put(g: Array, winners: Array, d: Array) -> None:
    for p in range(g.shape[0]):
        for i in range(g.shape[1]):
            d[p, winners[p, i]] += g[p, i]


@kernel
def _mean(
    x: Array, d0: Array, h0: Array, w0: Array, d1: Array, h1: Array, w1: Array,
    shares: Array, y: Array,
) -> None:  # fmt: skip
    for p in range(x.shape[0]):
        at = 0
        for k in range(d0.size):
            for i in range(h0.size):
                for j in range(w0.size):
                    total = x.dtype.type(0)
                    for c in range(d0[k], d1[k]):
                        for a in range(h0[i], h1[i]):
                            for b in range(w0[j], w1[j]):
                                total += x[p, c, a, b]
                    y[p, k, i, j] = total * shares[at]
                    at += 1


@kernel
def _mean_back(
    g: Array, d0: Array, h0: Array, w0: Array, d1: Array, h1: Array, w1: Array,
    shares: Array, d: Array,
) -> None:  # fmt: skip
    for p in range(d.shape[0]):
        at = 0
        for k in range(d0.size):
            for i in range(h0.size):
                for j in range(w0.size):
                    part = g[p, k, i, j] * shares[at]
                    at += 1
                    for c in range(d0[k], d1[k]):
                        for a in range(h0[i], h1[i]):
                            for b in range(w0[j], w1[j]):
                                d[p, c, a, b] += part
