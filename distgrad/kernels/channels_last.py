"""Twins of norms and pooling for arrays whose channels lie last in memory: (n, …, c).

The innermost loop runs over the channels of a place, so that all of it is vectorised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult, OpResults
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import Scalar, channels_first
from distgrad.kernels.arrays import channels_last as last
from distgrad.kernels.jit import kernel
from distgrad.kernels.scalars import empty_of, least, most
from distgrad.ops.geometry import Windows
from distgrad.ops.pool import elements_of, window_counts

Pooled: TypeAlias = "tuple[Array, Callable[[Array], Array]]"
"""What a pooling returns: the value, and the gradient's closure."""

_BLOCK = 128  # rows that are summed in their own dtype, and are still in the cache when read again

# What a kernel sums up in is its own: of arrays that it is given the innermost loops look each time
# whether they overlap, a fifth of the time of 64 channels.


def batch_norm(x: Array, w: Array, b: Array, eps: float) -> OpResults:
    """The twin of ``ops.batch_norm``; gradients to the statistics are left to NumPy."""
    places = last(x)
    form, rows = places.shape, places.reshape(-1, x.shape[1])
    mean, var = np.empty(w.shape, x.dtype), np.empty(w.shape, x.dtype)
    y = np.empty_like(rows)
    _statistics(rows, mean, var)
    r = 1 / np.sqrt(var + x.dtype.type(eps))
    _affine(rows, mean, r * w, b, y)

    def vjp(
        wanted: tuple[bool, ...], g: Array | None, g_mean: Array | None, g_var: Array | None
    ) -> tuple[Array | None, ...]:
        d = np.empty_like(rows) if g is not None else np.zeros_like(rows)
        dw, db = np.zeros_like(mean), np.zeros_like(mean)
        n = len(rows)
        if g is not None:
            _batch_norm_back(last(g).reshape(rows.shape), rows, w, mean, r, d, dw, db)
        if g_mean is not None:
            d += g_mean / n
        if g_var is not None:
            d += (rows - mean) * (g_var * (2 / n))
        return channels_first(d.reshape(form)), dw, db

    return (channels_first(y.reshape(form)), mean, var), Joint(vjp)


@kernel
def _statistics(x: Array, mean: Array, var: Array) -> None:
    # Memory is read once: the mean and the squares of a block around it, added to those of the
    # blocks before in float64 (Chan, Golub and LeVeque 1983).
    n, channels = x.shape
    zero = x.dtype.type(0)
    middle, square = empty_of(channels, np.float64), empty_of(channels, np.float64)
    m, s = empty_of(channels, x.dtype), empty_of(channels, x.dtype)
    for c in range(channels):
        middle[c] = square[c] = 0.0
    for start in range(0, n, _BLOCK):
        block = x[start : start + _BLOCK]
        count = x.dtype.type(len(block))
        for c in range(channels):
            m[c] = s[c] = zero
        for i in range(len(block)):
            for c in range(channels):
                m[c] += block[i, c]
        for c in range(channels):
            m[c] /= count
        for i in range(len(block)):
            for c in range(channels):
                s[c] += (block[i, c] - m[c]) * (block[i, c] - m[c])
        share = len(block) / (start + len(block))
        for c in range(channels):
            away = m[c] - middle[c]
            square[c] += s[c] + away * away * start * share
            middle[c] += away * share
    for c in range(channels):
        mean[c] = middle[c]
        var[c] = square[c] / n


@kernel
def _affine(x: Array, mean: Array, scale: Array, shift: Array, y: Array) -> None:
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            y[i, c] = (x[i, c] - mean[c]) * scale[c] + shift[c]


@kernel
def _batch_norm_back(
    g: Array, x: Array, w: Array, mean: Array, r: Array, d: Array, dw: Array, db: Array
) -> None:
    n, channels = x.shape
    zero = x.dtype.type(0)
    sum_g, sum_gx = empty_of(channels, np.float64), empty_of(channels, np.float64)
    part_g, part_gx = empty_of(channels, x.dtype), empty_of(channels, x.dtype)
    scale = empty_of(channels, x.dtype)
    for c in range(channels):
        sum_g[c] = sum_gx[c] = 0.0
        scale[c] = w[c] * r[c]
    for start in range(0, n, _BLOCK):
        stop = least(start + _BLOCK, n)
        for c in range(channels):
            part_g[c] = part_gx[c] = zero
        for i in range(start, stop):
            for c in range(channels):
                part_g[c] += g[i, c]
                part_gx[c] += g[i, c] * (x[i, c] - mean[c])
        for c in range(channels):
            sum_g[c] += part_g[c]
            sum_gx[c] += part_gx[c]
    mean_g, slope = part_g, part_gx
    for c in range(channels):
        db[c] = sum_g[c]
        dw[c] = sum_gx[c] * r[c]
        mean_g[c] = sum_g[c] / n
        slope[c] = sum_gx[c] / n * r[c] * r[c]
    for i in range(n):
        for c in range(channels):
            d[i, c] = (g[i, c] - mean_g[c] - (x[i, c] - mean[c]) * slope[c]) * scale[c]


def group_norm(x: Array, w: Array, b: Array, groups: int, eps: float) -> OpResult:
    """The twin of ``ops.group_norm``."""
    places = last(x)
    form, samples = places.shape, places.reshape(x.shape[0], -1, x.shape[1])
    mean, r = (np.empty((len(samples), groups), x.dtype) for _ in range(2))
    y = np.empty_like(samples)
    _group_norm(samples, w, b, x.dtype.type(eps), y, mean, r)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        d, dw, db = np.empty_like(samples), np.zeros_like(w), np.zeros_like(w)
        _group_norm_back(last(g).reshape(samples.shape), samples, w, mean, r, d, dw, db)
        return channels_first(d.reshape(form)), dw, db

    return channels_first(y.reshape(form)), Joint(vjp)


@kernel
def _group_norm(  # noqa: PLR0912 (loops over channels, written out)
    x: Array, w: Array, b: Array, eps: Scalar, y: Array, mean: Array, r: Array
) -> None:
    # Of a channel blocks are summed in their own dtype, their sums in float64.
    channels, zero = x.shape[2], x.dtype.type(0)
    members = channels // mean.shape[1]
    count = x.shape[1] * members
    whole, part = empty_of(channels, np.float64), empty_of(channels, x.dtype)
    middle, scale = empty_of(channels, x.dtype), empty_of(channels, x.dtype)
    for n in range(x.shape[0]):
        for c in range(channels):
            middle[c] = zero
        for turn in range(2):  # the means, then the squares around them
            for c in range(channels):
                whole[c] = 0.0
            for start in range(0, x.shape[1], _BLOCK):
                block = x[n, start : start + _BLOCK]
                for c in range(channels):
                    part[c] = zero
                for i in range(len(block)):
                    row = block[i]
                    if turn == 0:
                        for c in range(channels):
                            part[c] += row[c]
                    else:
                        for c in range(channels):
                            part[c] += (row[c] - middle[c]) * (row[c] - middle[c])
                for c in range(channels):
                    whole[c] += part[c]
            for k in range(mean.shape[1]):
                total = 0.0
                for c in range(k * members, (k + 1) * members):
                    total += whole[c]
                found = x.dtype.type(total / count)
                if turn == 0:
                    mean[n, k] = found
                else:
                    found = x.dtype.type(1) / np.sqrt(found + eps)
                    r[n, k] = found
                for c in range(k * members, (k + 1) * members):
                    if turn == 0:
                        middle[c] = found
                    else:
                        scale[c] = found * w[c]
        for i in range(x.shape[1]):
            row, to = x[n, i], y[n, i]
            for c in range(channels):
                to[c] = (row[c] - middle[c]) * scale[c] + b[c]


@kernel
def _group_norm_back(
    g: Array, x: Array, w: Array, mean: Array, r: Array, d: Array, dw: Array, db: Array
) -> None:
    channels, zero = x.shape[2], x.dtype.type(0)
    members = channels // mean.shape[1]
    count = x.shape[1] * members
    sum_g, sum_gx = empty_of(channels, np.float64), empty_of(channels, np.float64)
    part_g, part_gx = empty_of(channels, x.dtype), empty_of(channels, x.dtype)
    middle, scale = empty_of(channels, x.dtype), empty_of(channels, x.dtype)
    slope, mean_g = empty_of(channels, x.dtype), empty_of(channels, x.dtype)
    for n in range(x.shape[0]):
        for c in range(channels):
            middle[c] = mean[n, c // members]
            sum_g[c] = sum_gx[c] = 0.0
        for start in range(0, x.shape[1], _BLOCK):
            stop = least(start + _BLOCK, x.shape[1])
            for c in range(channels):
                part_g[c] = part_gx[c] = zero
            for i in range(start, stop):
                row, here = x[n, i], g[n, i]
                for c in range(channels):
                    part_g[c] += here[c]
                    part_gx[c] += here[c] * (row[c] - middle[c])
            for c in range(channels):
                sum_g[c] += part_g[c]
                sum_gx[c] += part_gx[c]
        for k in range(mean.shape[1]):
            s, of_g, of_gx = r[n, k], 0.0, 0.0
            for c in range(k * members, (k + 1) * members):
                db[c] += sum_g[c]
                dw[c] += sum_gx[c] * s
                of_g += sum_g[c] * w[c]
                of_gx += sum_gx[c] * s * w[c]
            for c in range(k * members, (k + 1) * members):
                slope[c] = of_gx / count * s * s
                mean_g[c] = of_g / count * s
                scale[c] = w[c] * s
        for i in range(x.shape[1]):
            row, here, to = x[n, i], g[n, i], d[n, i]
            for c in range(channels):
                to[c] = here[c] * scale[c] - mean_g[c] - (row[c] - middle[c]) * slope[c]


def max_pool(x: Array, windows: Windows, ceil_mode: bool) -> Pooled:
    """The twin of ``ops.max_pool`` over two axes, without dilation."""
    places = last(x)
    n, h, w, channels = places.shape
    kernel_, steps, pads, _ = windows
    y = np.empty((n, *window_counts((h, w), windows, ceil_mode), channels), x.dtype)
    winners = np.empty(y.shape, np.int32)  # number in the window
    _max_pool(places, *kernel_, *steps, *pads, y, winners)

    def vjp(g: Array) -> Array:
        d = np.zeros((n, h, w, channels), g.dtype)
        _max_pool_back(last(g), winners, *kernel_, *steps, *pads, d)
        return channels_first(d)

    return channels_first(y), vjp


@kernel
def _max_pool(
    x: Array, kh: int, kw: int, sh: int, sw: int, ph: int, pw: int, y: Array, winners: Array
) -> None:
    images, h, w, channels = x.shape
    for n in range(images):
        for i in range(y.shape[1]):
            top, bottom = most(i * sh - ph, 0), least(i * sh - ph + kh, h)
            for j in range(y.shape[2]):
                left, right = most(j * sw - pw, 0), least(j * sw - pw + kw, w)
                best, where = y[n, i, j], winners[n, i, j]
                first = np.int32((top - i * sh + ph) * kw + left - j * sw + pw)
                for c in range(channels):
                    best[c] = x[n, top, left, c]
                    where[c] = first
                for a in range(top, bottom):
                    for b in range(left, right):
                        at = np.int32((a - i * sh + ph) * kw + b - j * sw + pw)
                        place = x[n, a, b]
                        for c in range(channels):
                            # The first of equal ones wins; NaN beats everything, the first NaN all.
                            v, u = place[c], best[c]
                            wins = (v > u) | ((v != v) & (u == u))
                            best[c] = v if wins else u
                            where[c] = at if wins else where[c]


@kernel
def _max_pool_back(
    g: Array, winners: Array, kh: int, kw: int, sh: int, sw: int, ph: int, pw: int, d: Array
) -> None:
    images, h, w, channels = d.shape
    zero = d.dtype.type(0)
    for n in range(images):
        for i in range(g.shape[1]):
            top, bottom = most(i * sh - ph, 0), least(i * sh - ph + kh, h)
            for j in range(g.shape[2]):
                left, right = most(j * sw - pw, 0), least(j * sw - pw + kw, w)
                here, where = g[n, i, j], winners[n, i, j]
                for a in range(top, bottom):
                    for b in range(left, right):
                        at = np.int32((a - i * sh + ph) * kw + b - j * sw + pw)
                        place = d[n, a, b]
                        for c in range(channels):
                            place[c] += here[c] if where[c] == at else zero


def avg_pool(
    x: Array,
    windows: Windows,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Pooled:
    """The twin of ``ops.avg_pool`` over two axes."""
    places = last(x)
    n, h, w, channels = places.shape
    kernel_, steps, pads, _ = windows
    counts = window_counts((h, w), windows, ceil_mode)
    if divisor_override is None:
        sizes = elements_of((h, w), windows, counts, count_include_pad)
    else:
        sizes = np.full(counts, divisor_override)
    share = np.asarray(1 / sizes, x.dtype)
    y = np.empty((n, *counts, channels), x.dtype)
    _avg_pool(places, *kernel_, *steps, *pads, share, y)

    def vjp(g: Array) -> Array:
        d = np.zeros((n, h, w, channels), g.dtype)
        _avg_pool_back(last(g), *kernel_, *steps, *pads, share, d)
        return channels_first(d)

    return channels_first(y), vjp


@kernel
def _avg_pool(
    x: Array, kh: int, kw: int, sh: int, sw: int, ph: int, pw: int, share: Array, y: Array
) -> None:
    images, h, w, channels = x.shape
    for n in range(images):
        for i in range(y.shape[1]):
            top, bottom = most(i * sh - ph, 0), least(i * sh - ph + kh, h)
            for j in range(y.shape[2]):
                left, right = most(j * sw - pw, 0), least(j * sw - pw + kw, w)
                out = y[n, i, j]
                for c in range(channels):
                    out[c] = 0
                for a in range(top, bottom):
                    for b in range(left, right):
                        place = x[n, a, b]
                        for c in range(channels):
                            out[c] += place[c]
                for c in range(channels):
                    out[c] *= share[i, j]


@kernel
def _avg_pool_back(
    g: Array, kh: int, kw: int, sh: int, sw: int, ph: int, pw: int, share: Array, d: Array
) -> None:
    images, h, w, channels = d.shape
    for n in range(images):
        for i in range(g.shape[1]):
            top, bottom = most(i * sh - ph, 0), least(i * sh - ph + kh, h)
            for j in range(g.shape[2]):
                left, right = most(j * sw - pw, 0), least(j * sw - pw + kw, w)
                here = g[n, i, j]
                for a in range(top, bottom):
                    for b in range(left, right):
                        place = d[n, a, b]
                        for c in range(channels):
                            place[c] += here[c] * share[i, j]
