"""Convolutions of 3 x 3 by Winograd's minimal filtering F(2 x 2, 3 x 3): 16 products where 36 are.

A tile is 4 x 4 pixels in and 2 x 2 out: y = Aᵀ [(G w Gᵀ) (Bᵀ x B)] A, where the middle is a matrix
product over channels for each of 16 places (Lavin and Gray 2016). Channels come last; a few images
at a time, so that their tiles stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.arrays import Scalar
from distgrad.kernels.im2row import buffer, summed
from distgrad.kernels.jit import kernel
from distgrad.kernels.onednn_convolution import Problem

_TILES = 256  # so many make products large enough for BLAS and small enough for the cache
_BESIDE_ROWS, _BESIDE_LIBRARY = 64, 128  # channels from which on im2col, and oneDNN, are slower


def of(problem: Problem, library: bool) -> Tiles | None:
    """Return the way to do it where it is the faster one, with ``library`` (oneDNN) at hand or not.

    For windows of 3 x 3 in steps of 1 and even heights and widths.
    """
    kernel_, stride, padding, dilation = problem.windows
    if kernel_ != (3, 3) or stride != (1, 1) or dilation != (1, 1) or max(padding) > 2:
        return None
    n, o, *size = problem.y
    fits = min(problem.x[1], o) >= (_BESIDE_LIBRARY if library else _BESIDE_ROWS)
    if problem.groups > 1 or not fits or any(length % 2 for length in size):
        return None
    enough = n * math.prod(size) // 4 >= 64  # tiles: else bringing the filters into form costs more
    return Tiles(problem) if enough else None


class Tiles:
    """A convolution and its gradients, of arrays (n, h, w, c) and weights (o, c, 3, 3)."""

    def __init__(self, problem: Problem) -> None:
        self.padding = problem.windows.padding

    def forward(self, x: Array, weight: Array, bias: Array | None, y: Array) -> None:
        """Let ``y`` be the convolution of ``x``."""
        o, c = weight.shape[:2]
        filters = buffer("filters", (16, o, c), x.dtype)
        _filters(weight, x.dtype.type(0.5), filters)
        shift = np.zeros(o, x.dtype) if bias is None else bias
        _convolved(x, filters.transpose(0, 2, 1), shift, self.padding, y)

    def to_data(self, g: Array, weight: Array, dx: Array) -> None:
        """Let ``dx`` be the gradient to ``x``, of the gradient ``g`` to ``y``."""
        # The convolution of g with the filters turned round, from o channels to c.
        o, c = weight.shape[:2]
        filters = buffer("filters", (16, o, c), g.dtype)
        _filters(np.ascontiguousarray(weight[:, :, ::-1, ::-1]), g.dtype.type(0.5), filters)
        top, left = self.padding
        _convolved(g, filters, np.zeros(c, g.dtype), (2 - top, 2 - left), dx)

    def to_weight(self, x: Array, g: Array, dw: Array, db: Array | None) -> None:
        """Let ``dw`` and ``db`` be the gradients to the weight and the bias."""
        o, c = dw.shape[:2]
        total, share = np.zeros((16, o, c), g.dtype), buffer("filters", (16, o, c), g.dtype)
        for part, tiles in _parts(g):
            ins = buffer("tiles in", (16, tiles, c), g.dtype)
            outs = buffer("tiles out", (16, tiles, o), g.dtype)
            _cut(_padded(x[part], self.padding), ins)
            _spread(g[part], _rows("rows", 2, g), outs)
            total += np.matmul(outs.transpose(0, 2, 1), ins, out=share)
        _filters_back(total, g.dtype.type(0.5), dw)
        if db is not None:
            db[...] = summed(g)


def _convolved(x: Array, filters: Array, shift: Array, padding: tuple[int, ...], y: Array) -> None:
    c, o = x.shape[3], y.shape[3]
    for part, tiles in _parts(y):
        ins = buffer("tiles in", (16, tiles, c), x.dtype)
        outs = buffer("tiles out", (16, tiles, o), x.dtype)
        _cut(_padded(x[part], padding), ins)
        np.matmul(ins, filters, out=outs)
        _joined(outs, shift, _rows("rows", 4, y), y[part])


def _parts(y: Array) -> Iterator[tuple[slice, int]]:
    """A few images at a time, and how many tiles they are."""
    each = y.shape[1] * y.shape[2] // 4
    step = max(1, _TILES // each)
    for i in range(0, len(y), step):
        stop = min(i + step, len(y))
        yield slice(i, stop), (stop - i) * each


def _padded(x: Array, padding: tuple[int, ...]) -> Array:
    b, h, w, c = x.shape
    top, left = padding
    padded = buffer("padded", (b, h + 2 * top, w + 2 * left, c), x.dtype)
    padded.fill(0)
    padded[:, top : top + h, left : left + w] = x
    return padded


def _rows(name: str, count: int, y: Array) -> Array:
    return buffer(name, (count, y.shape[2] * y.shape[3]), y.dtype)


# Loops are over one row of memory and a few pointers each: then they are vectorised.


@kernel
def _cut(x: Array, tiles: Array) -> None:
    """Bᵀ x B of each tile of 4 x 4, two apart."""
    images, height, width, channels = x.shape
    length = width * channels
    lines = x.reshape(images, height, length)
    rows = np.empty((4, length), x.dtype)
    t = 0
    for b in range(images):
        for i in range(0, height - 2, 2):
            first, second = lines[b, i], lines[b, i + 1]
            third, fourth = lines[b, i + 2], lines[b, i + 3]
            r0, r1, r2, r3 = rows[0], rows[1], rows[2], rows[3]
            for j in range(length):
                r0[j] = first[j] - third[j]
            for j in range(length):
                r1[j] = second[j] + third[j]
            for j in range(length):
                r2[j] = third[j] - second[j]
            for j in range(length):
                r3[j] = second[j] - fourth[j]
            for q in range(0, width - 2, 2):
                for k in range(4):
                    at = q * channels
                    p0 = rows[k, at : at + channels]
                    p1 = rows[k, at + channels : at + 2 * channels]
                    p2 = rows[k, at + 2 * channels : at + 3 * channels]
                    p3 = rows[k, at + 3 * channels : at + 4 * channels]
                    o0, o1 = tiles[4 * k, t], tiles[4 * k + 1, t]
                    o2, o3 = tiles[4 * k + 2, t], tiles[4 * k + 3, t]
                    for c in range(channels):
                        o0[c] = p0[c] - p2[c]
                    for c in range(channels):
                        o1[c] = p1[c] + p2[c]
                    for c in range(channels):
                        o2[c] = p2[c] - p1[c]
                    for c in range(channels):
                        o3[c] = p1[c] - p3[c]
                t += 1


@kernel
def _joined(tiles: Array, shift: Array, rows: Array, y: Array) -> None:
    """Aᵀ m A of each tile, and the shift: added to the one row that is in both rows of y once."""
    images, height, width, channels = y.shape
    length = width * channels
    lines = y.reshape(images, height, length)
    t = 0
    for b in range(images):
        for i in range(0, height, 2):
            for q in range(0, width, 2):
                for k in range(4):
                    m0, m1 = tiles[4 * k, t], tiles[4 * k + 1, t]
                    m2, m3 = tiles[4 * k + 2, t], tiles[4 * k + 3, t]
                    at = q * channels
                    left = rows[k, at : at + channels]
                    right = rows[k, at + channels : at + 2 * channels]
                    for c in range(channels):
                        left[c] = m0[c] + m1[c] + m2[c]
                    for c in range(channels):
                        right[c] = m1[c] - m2[c] - m3[c]
                    if k == 1:
                        for c in range(channels):
                            left[c] += shift[c]
                        for c in range(channels):
                            right[c] += shift[c]
                t += 1
            r0, r1, r2, r3 = rows[0], rows[1], rows[2], rows[3]
            upper, lower = lines[b, i], lines[b, i + 1]
            for j in range(length):
                upper[j] = r0[j] + r1[j] + r2[j]
            for j in range(length):
                lower[j] = r1[j] - r2[j] - r3[j]


@kernel
def _spread(g: Array, rows: Array, tiles: Array) -> None:
    """A g Aᵀ of each tile of 2 x 2."""
    images, height, width, channels = g.shape
    length = width * channels
    lines = g.reshape(images, height, length)
    t = 0
    for b in range(images):
        for i in range(0, height, 2):
            upper, lower = lines[b, i], lines[b, i + 1]
            r1, r2 = rows[0], rows[1]
            for j in range(length):
                r1[j] = upper[j] + lower[j]
            for j in range(length):
                r2[j] = upper[j] - lower[j]
            for q in range(0, width, 2):
                at = q * channels
                for k in range(4):
                    row = upper if k == 0 else (r1 if k == 1 else (r2 if k == 2 else lower))
                    left, right = row[at : at + channels], row[at + channels : at + 2 * channels]
                    o0, o1 = tiles[4 * k, t], tiles[4 * k + 1, t]
                    o2, o3 = tiles[4 * k + 2, t], tiles[4 * k + 3, t]
                    sign = g.dtype.type(-1 if k == 3 else 1)
                    for c in range(channels):
                        o0[c] = sign * left[c]
                    for c in range(channels):
                        o1[c] = sign * (left[c] + right[c])
                    for c in range(channels):
                        o2[c] = sign * (left[c] - right[c])
                    for c in range(channels):
                        o3[c] = -sign * right[c]
                t += 1


@kernel
def _filters(w: Array, half: Scalar, filters: Array) -> None:
    """G w Gᵀ of each filter."""
    count, channels = w.shape[0], w.shape[1]
    taps, mixed = np.empty((9, channels), w.dtype), np.empty((12, channels), w.dtype)
    for o in range(count):
        own = w[o].reshape(channels, 9)
        for c in range(channels):
            for i in range(9):
                taps[i, c] = own[c, i]
        for i in range(3):  # G from the left
            _mix(taps[i], taps[3 + i], taps[6 + i], half, mixed[i], mixed[3 + i], mixed[6 + i])
            mixed[9 + i] = taps[6 + i]
        for k in range(4):  # and from the right
            a, b, c_ = mixed[3 * k], mixed[3 * k + 1], mixed[3 * k + 2]
            first, second, third = filters[4 * k, o], filters[4 * k + 1, o], filters[4 * k + 2, o]
            _mix(a, b, c_, half, first, second, third)
            filters[4 * k + 3, o] = c_


@kernel
def _mix(
    a: Array, b: Array, c: Array, half: Scalar, first: Array, second: Array, third: Array
) -> None:
    """The first three of G (a, b, c); the fourth is c."""
    for j in range(a.size):
        first[j] = a[j]
    for j in range(a.size):
        second[j] = half * (a[j] + b[j] + c[j])
    for j in range(a.size):
        third[j] = half * (a[j] - b[j] + c[j])


@kernel
def _filters_back(d: Array, half: Scalar, dw: Array) -> None:
    """Gᵀ d G of each filter."""
    count, channels = dw.shape[0], dw.shape[1]
    mixed, taps = np.empty((12, channels), dw.dtype), np.empty((9, channels), dw.dtype)
    for o in range(count):
        for k in range(4):  # G from the right
            first, second, third = mixed[3 * k], mixed[3 * k + 1], mixed[3 * k + 2]
            _mix_back(
                *(d[4 * k, o], d[4 * k + 1, o], d[4 * k + 2, o], d[4 * k + 3, o], half),
                *(first, second, third),
            )
        for i in range(3):  # and Gᵀ from the left
            _mix_back(
                *(mixed[i], mixed[3 + i], mixed[6 + i], mixed[9 + i], half),
                *(taps[i], taps[3 + i], taps[6 + i]),
            )
        own = dw[o].reshape(channels, 9)
        for c in range(channels):
            for i in range(9):
                own[c, i] = taps[i, c]


@kernel
def _mix_back(
    a: Array, b: Array, c: Array, d: Array, half: Scalar, first: Array, second: Array, third: Array
) -> None:
    """Gᵀ (a, b, c, d)."""
    for j in range(a.size):
        first[j] = a[j] + half * (b[j] + c[j])
    for j in range(a.size):
        second[j] = half * (b[j] - c[j])
    for j in range(a.size):
        third[j] = half * (b[j] + c[j]) + d[j]
