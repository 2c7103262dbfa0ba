"""Twins of pooling."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Ints
from distgrad.kernels import channels_last
from distgrad.kernels.arrays import dense, lies_last, suits
from distgrad.kernels.jit import kernel
from distgrad.ops.pool import pool_windows, pooled_length


def max_pool(
    x: Array,
    *,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> OpResult | None:
    """The twin of ``ops.max_pool`` over two axes, without dilation."""
    if not suits(x) or x.ndim != 4:
        return None
    windows = pool_windows(2, kernel_size, stride, padding, dilation)
    if windows.dilation != (1, 1):
        return None
    if lies_last(x):
        return channels_last.max_pool(x, windows, ceil_mode)
    kernel_, steps, pads, _ = windows
    n, c, h, w = x.shape
    rows, cols = (pooled_length(*axis, ceil_mode) for axis in zip((h, w), *windows, strict=True))
    y = np.empty((n * c, rows, cols), x.dtype)
    winners = np.empty(y.shape, np.int32)  # index in the plane
    _max_pool(dense(x).reshape(n * c, h, w), *kernel_, *steps, *pads, y, winners)

    def vjp(g: Array) -> Array:
        d = np.zeros((n * c, h * w), x.dtype)
        _max_pool_back(dense(g).reshape(n * c, -1), winners.reshape(n * c, -1), d)
        return d.reshape(x.shape)

    return y.reshape(n, c, rows, cols), vjp


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
    """The twin of ``ops.avg_pool`` over two axes, of channels that lie last."""
    if not suits(x) or x.ndim != 4 or not lies_last(x) or divisor_override == 0:
        return None
    windows = pool_windows(2, kernel_size, stride, padding)
    return channels_last.avg_pool(x, windows, ceil_mode, count_include_pad, divisor_override)


@kernel
def _max_pool(
    x: Array, kh: int, kw: int, sh: int, sw: int, ph: int, pw: int, y: Array, winners: Array
) -> None:
    planes, h, w = x.shape
    for p in range(planes):
        for i in range(y.shape[1]):
            top, bottom = max(i * sh - ph, 0), min(i * sh - ph + kh, h)
            for j in range(y.shape[2]):
                left, right = max(j * sw - pw, 0), min(j * sw - pw + kw, w)
                best, where = x[p, top, left], top * w + left
                for a in range(top, bottom):
                    for b in range(left, right):
                        v = x[p, a, b]
                        # The first of equal ones wins; NaN beats everything, the first NaN all.
                        # No branches: which one wins cannot be predicted.
                        wins = (v > best) | ((v != v) & (best == best))
                        best = v if wins else best
                        where = a * w + b if wins else where
                y[p, i, j] = best
                winners[p, i, j] = where


@kernel
def _max_pool_back(g: Array, winners: Array, d: Array) -> None:
    for p in range(g.shape[0]):
        for i in range(g.shape[1]):
            d[p, winners[p, i]] += g[p, i]
