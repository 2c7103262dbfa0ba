"""The twin of ``grid_sample`` for images, of the four pixels around a point or the nearest one.

A strip of points at a time: what is found of them stays in the cache, and is found again backwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import Scalar, dense, suits
from distgrad.kernels.jit import exact_kernel, inlined, kernel
from distgrad.ops.grid import PADDINGS

_AROUND = 4
_STRIP = 256
_MOST = 1 << 31
"""Pixels of an image from which on their numbers are too long."""


def grid_sample(
    image: Array, grid: Array, *, mode: str, padding_mode: str, align_corners: bool
) -> OpResult | None:
    """The twin of ``ops.grid_sample``."""
    if mode == "bicubic" or image.ndim != 4 or not suits(image, grid):
        return None
    n, c, h, w = image.shape
    if h * w >= _MOST:
        return None
    dtype, shape = image.dtype, grid.shape
    pixels, points = dense(image).reshape(n, c, h * w), dense(grid).reshape(n, -1)
    how = mode == "nearest", PADDINGS.index(padding_mode), align_corners
    y = np.empty((n, c, points.shape[1] // 2), dtype)
    _read(points, h, w, *how, pixels, y)

    def vjp(wanted: Sequence[bool], g: Array) -> tuple[Array, Array]:
        d_pixels, d_points = np.zeros((n, c, h * w), dtype), np.zeros(points.shape, dtype)
        _give(points, h, w, *how, pixels, dense(g).reshape(n, c, -1), *wanted, d_pixels, d_points)
        return d_pixels.reshape(n, c, h, w), d_points.reshape(shape)

    return y.reshape(n, c, *shape[1:3]), Joint(vjp)


# Loops of one kind of step each, without branches, which become vector instructions; every step is
# rounded as the reference's is.


@inlined
def _in_pixels(x: Scalar, length: Scalar, one: Scalar, align: bool) -> tuple[Scalar, Scalar]:
    """Where in pixels a place from -1 to 1 is, and the slope of that; NaN is -1."""
    zero, half = one - one, one / (one + one)
    nan = x != x
    x = -one if nan else x
    scale = (length - one) * half if align else length * half
    at = (x + one) * scale if align else ((x + one) * length - one) * half
    return at, zero if nan else scale


@inlined
def _reflected(
    at: Scalar, slope: Scalar, length: Scalar, one: Scalar, align: bool
) -> tuple[Scalar, Scalar]:
    """As often as needed, at the outermost pixels or, if these are not ``align``, their edges."""
    zero, half = one - one, one / (one + one)
    low, span = (zero, length - one) if align else (-half, length)
    if span == zero:
        return zero, zero
    away = abs(at - low)
    rest, turns = np.fmod(away, span), np.floor(away / span)
    odd = np.fmod(turns, one + one) == one
    slope = -slope if (at < low) != odd else slope
    return (span - rest if odd else rest) + low, slope


@inlined
def _clipped(at: Scalar, slope: Scalar, length: Scalar, one: Scalar) -> tuple[Scalar, Scalar]:
    zero, last = one - one, length - one
    before, behind = at <= zero, at >= last
    slope = zero if before | behind else slope
    at = zero if before else at
    return last if behind & (not before) else at, slope


@exact_kernel
def _place(
    points: Array, n: int, length: int, padding: int, align: bool, at: Array, slope: Array
) -> None:
    """Let ``at`` be where every other one of ``points`` is, in pixels, and ``slope`` its slope."""
    number = points.dtype.type
    one, long = number(1), number(length)
    for p in range(n):
        at[p], slope[p] = _in_pixels(points[2 * p], long, one, align)
    if padding == 2:
        for p in range(n):
            at[p], slope[p] = _reflected(at[p], slope[p], long, one, align)
    if padding:
        for p in range(n):
            at[p], slope[p] = _clipped(at[p], slope[p], long, one)


@exact_kernel
def _look(
    points: Array, h: int, w: int, nearest: bool, padding: int, align: bool, slopes: bool,
    at: Array, found: Array,
) -> None:  # fmt: skip
    """Find the pixels around each point, -1 for none: their weights and maybe the weights' slopes.

    ``found`` is (weights, slopes along x, along y; of four pixels), then coordinates and slopes.
    """
    number = points.dtype.type
    n, one, wide, high = points.size // 2, number(1), number(w), number(h)
    xs, ys, slopes_x, slopes_y = found[3, 0], found[3, 1], found[3, 2], found[3, 3]
    vs, us = found[4, 0], found[4, 1]
    _place(points, n, w, padding, align, xs, slopes_x)
    _place(points[1:], n, h, padding, align, ys, slopes_y)
    if nearest:
        for p in range(n):
            x, y = _near(np.rint(xs[p]), wide, one), _near(np.rint(ys[p]), high, one)
            inside = (x >= 0) & (x < wide) & (y >= 0) & (y < high)
            at[0, p] = np.int32(y) * w + np.int32(x) if inside else -1
            found[0, 0, p] = one
        return
    for p in range(n):
        x, y = _near(xs[p], wide, one), _near(ys[p], high, one)
        xs[p], ys[p] = np.floor(x), np.floor(y)
        us[p], vs[p] = x - xs[p], y - ys[p]
    for k in range(_AROUND):
        down, right = number(k // 2), number(k % 2)
        for p in range(n):
            i, j = ys[p] + down, xs[p] + right
            inside = (i >= 0) & (i < high) & (j >= 0) & (j < wide)
            at[k, p] = np.int32(i) * w + np.int32(j) if inside else -1
            of_y, of_x = vs[p] if k // 2 else one - vs[p], us[p] if k % 2 else one - us[p]
            found[0, k, p] = of_y * of_x
        if slopes:
            for p in range(n):
                of_y, of_x = vs[p] if k // 2 else one - vs[p], us[p] if k % 2 else one - us[p]
                found[1, k, p] = of_y * (slopes_x[p] if k % 2 else -slopes_x[p])
                found[2, k, p] = of_x * (slopes_y[p] if k // 2 else -slopes_y[p])


@inlined
def _near(x: Scalar, length: Scalar, one: Scalar) -> Scalar:
    """What is far outside, or no number, becomes a place outside that an integer can hold."""
    low, high = -one - one, length + one
    x = x if x > low else low
    return x if x < high else high


@kernel
def _read(
    points: Array, h: int, w: int, nearest: bool, padding: int, align: bool, pixels: Array,
    y: Array,
) -> None:  # fmt: skip
    at, found = np.empty((_AROUND, _STRIP), np.int32), np.empty((5, _AROUND, _STRIP), y.dtype)
    zero, count = y.dtype.type(0), 1 if nearest else _AROUND
    for n in range(y.shape[0]):
        for begin in range(0, y.shape[2], _STRIP):
            strip = points[n, 2 * begin : 2 * (begin + _STRIP)]
            _look(strip, h, w, nearest, padding, align, False, at, found)
            for c in range(y.shape[1]):
                image, to = pixels[n, c], y[n, c, begin : begin + _STRIP]
                to[:] = zero
                for k in range(count):
                    of, weight = at[k], found[0, k]
                    for p in range(to.size):
                        i = of[p]
                        to[p] += weight[p] * image[i] if i >= 0 else zero


@kernel
def _give(
    points: Array, h: int, w: int, nearest: bool, padding: int, align: bool, pixels: Array,
    g: Array, to_pixels: bool, to_points: bool, d_pixels: Array, d_points: Array,
) -> None:  # fmt: skip
    at, found = np.empty((_AROUND, _STRIP), np.int32), np.empty((5, _AROUND, _STRIP), g.dtype)
    zero, count = g.dtype.type(0), 1 if nearest else _AROUND
    for n in range(g.shape[0]):
        for begin in range(0, g.shape[2], _STRIP):
            strip = points[n, 2 * begin : 2 * (begin + _STRIP)]
            _look(strip, h, w, nearest, padding, align, to_points, at, found)
            dx, dy = found[3, 0], found[3, 1]
            dx[:], dy[:] = zero, zero
            for c in range(g.shape[1]):
                image, here = pixels[n, c], g[n, c, begin : begin + _STRIP]
                if to_points and not nearest:
                    for p in range(here.size):
                        for k in range(_AROUND):
                            i = at[k, p]
                            v = here[p] * image[i] if i >= 0 else zero
                            dx[p] += v * found[1, k, p]
                            dy[p] += v * found[2, k, p]
                if to_pixels:
                    back = d_pixels[n, c]
                    for k in range(count):
                        of, weight = at[k], found[0, k]
                        for p in range(here.size):
                            i = of[p]
                            if i >= 0:
                                back[i] += here[p] * weight[p]
            to = d_points[n, 2 * begin : 2 * (begin + _STRIP)]
            for p in range(to.size // 2):
                to[2 * p] = dx[p]
                to[2 * p + 1] = dy[p]
