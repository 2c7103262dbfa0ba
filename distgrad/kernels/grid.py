"""The twin of ``grid_sample`` for images, of the four pixels around a point or the nearest one."""

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


def grid_sample(
    image: Array, grid: Array, *, mode: str, padding_mode: str, align_corners: bool
) -> OpResult | None:
    """The twin of ``ops.grid_sample``."""
    if mode == "bicubic" or image.ndim != 4 or not suits(image, grid):
        return None
    n, c, h, w = image.shape
    dtype, shape = image.dtype, grid.shape
    pixels, points = dense(image).reshape(n, c, h * w), dense(grid).reshape(n, -1, 2)
    # Of each point, around it: the pixels (-1: none), their weights, and the weights' slopes.
    at = np.empty((n, _AROUND, points.shape[1]), np.int64)
    weight, to_x, to_y = (np.zeros(at.shape, dtype) for _ in range(3))
    padding = PADDINGS.index(padding_mode)
    _look(points, h, w, mode == "nearest", padding, align_corners, at, weight, to_x, to_y)
    y = np.empty((n, c, points.shape[1]), dtype)
    _read(pixels, at, weight, y)

    def vjp(wanted: Sequence[bool], g: Array) -> tuple[Array, Array]:
        d_pixels, d_points = np.zeros((n, c, h * w), dtype), np.zeros((n, 2, at.shape[2]), dtype)
        _give(dense(g).reshape(n, c, -1), pixels, at, weight, to_x, to_y, d_pixels, d_points)
        return d_pixels.reshape(n, c, h, w), d_points.transpose(0, 2, 1).reshape(shape)

    return y.reshape(n, c, *shape[1:3]), Joint(vjp)


@inlined
def _moved(
    x: Scalar, length: Scalar, one: Scalar, padding: int, align: bool
) -> tuple[Scalar, Scalar]:
    """Where in pixels a point is, and the slope of that; rounded as the reference's steps are."""
    zero, half = one - one, one / (one + one)
    nan = x != x
    x = -one if nan else x
    scale = (length - one) * half if align else length * half
    at = (x + one) * scale if align else ((x + one) * length - one) * half
    slope = zero if nan else scale
    if padding == 0:
        return at, slope
    if padding == 2:
        low, span = (zero, length - one) if align else (-half, length)
        if span == zero:
            return zero, zero
        away = abs(at - low)
        rest, turns = np.fmod(away, span), np.floor(away / span)
        odd = np.fmod(turns, one + one) == one
        slope = -slope if (at < low) != odd else slope
        at = (span - rest if odd else rest) + low
    if at <= zero:
        return zero, zero
    if at >= length - one:
        return length - one, zero
    return at, slope


@exact_kernel
def _look(
    points: Array, h: int, w: int, nearest: bool, padding: int, align: bool, at: Array,
    weight: Array, to_x: Array, to_y: Array,
) -> None:  # fmt: skip
    number = points.dtype.type
    one, wide, high = number(1), number(w), number(h)
    for n in range(points.shape[0]):
        for p in range(points.shape[1]):
            x, slope_x = _moved(points[n, p, 0], wide, one, padding, align)
            y, slope_y = _moved(points[n, p, 1], high, one, padding, align)
            for k in range(4):
                at[n, k, p] = -1
            if not (-one <= x <= wide and -one <= y <= high):
                continue  # none is near
            if nearest:
                i, j = int(np.rint(y)), int(np.rint(x))
                if 0 <= i < h and 0 <= j < w:
                    at[n, 0, p] = i * w + j
                    weight[n, 0, p] = 1
                continue
            top, left = np.floor(y), np.floor(x)
            v, u = y - top, x - left
            for k in range(4):
                down, right = k // 2, k % 2
                i, j = int(top) + down, int(left) + right
                if 0 <= i < h and 0 <= j < w:
                    of_y, of_x = v if down else one - v, u if right else one - u
                    at[n, k, p] = i * w + j
                    weight[n, k, p] = of_y * of_x
                    to_x[n, k, p] = of_y * (slope_x if right else -slope_x)
                    to_y[n, k, p] = of_x * (slope_y if down else -slope_y)


@kernel
def _read(pixels: Array, at: Array, weight: Array, y: Array) -> None:
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            for p in range(y.shape[2]):
                total = y.dtype.type(0)
                for k in range(4):
                    if at[n, k, p] >= 0:
                        total += weight[n, k, p] * pixels[n, c, at[n, k, p]]
                y[n, c, p] = total


@kernel
def _give(
    g: Array, pixels: Array, at: Array, weight: Array, to_x: Array, to_y: Array, d_pixels: Array,
    d_points: Array,
) -> None:  # fmt: skip
    for n in range(g.shape[0]):
        for c in range(g.shape[1]):
            for p in range(g.shape[2]):
                here = g[n, c, p]
                for k in range(4):
                    i = at[n, k, p]
                    if i >= 0:
                        d_pixels[n, c, i] += here * weight[n, k, p]
                        v = here * pixels[n, c, i]
                        d_points[n, 0, p] += v * to_x[n, k, p]
                        d_points[n, 1, p] += v * to_y[n, k, p]
