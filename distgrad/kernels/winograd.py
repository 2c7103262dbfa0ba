"""Convolutions of 3 x 3 by Winograd's minimal filtering F(2 x 2, 3 x 3): 16 products where 36 are.

A tile is 4 x 4 pixels in and 2 x 2 out: y = Aᵀ [(G w Gᵀ) (Bᵀ x B)] A, where the middle is a matrix
product over channels for each of 16 places (Lavin and Gray 2016). Channels come last; a few images
at a time, so that their tiles stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.im2row import buffer, summed
from distgrad.kernels.jit import kernel
from distgrad.kernels.onednn_convolution import Problem
from distgrad.kernels.products import product

_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_TRANSFORMS = {t: np.kron(_G, _G).astype(t) for t in "fd"}  # 16 places of 9 taps: exact numbers
_TILES = 256  # so many make products large enough for BLAS and small enough for the cache


class Tiles:
    """A convolution and its gradients, of arrays (n, h, w, c) and weights (o, c, 3, 3)."""

    def __init__(self, problem: Problem) -> None:
        self.padding = problem.windows.padding

    def forward(self, x: Array, weight: Array, bias: Array | None, y: Array) -> None:
        """Let ``y`` be the convolution of ``x``."""
        filters = _filters(weight, _TRANSFORMS[x.dtype.char])
        shift = np.zeros(len(weight), x.dtype) if bias is None else bias
        _convolved(x, filters.transpose(0, 2, 1), shift, self.padding, y)

    def to_data(self, g: Array, weight: Array, dx: Array) -> None:
        """Let ``dx`` be the gradient to ``x``, of the gradient ``g`` to ``y``."""
        # The convolution of g with the filters turned round, from o channels to c.
        c = weight.shape[1]
        filters = _filters(weight, _TRANSFORMS[g.dtype.char][:, ::-1])
        top, left = self.padding
        _convolved(g, filters, np.zeros(c, g.dtype), (2 - top, 2 - left), dx)

    def to_weight(self, x: Array, g: Array, dw: Array, db: Array | None) -> None:
        """Let ``dw`` and ``db`` be the gradients to the weight and the bias."""
        o, c = dw.shape[:2]
        parts = [*_parts(g)]
        total = buffer("filters", (16, o, c), g.dtype)
        share = np.empty_like(total) if len(parts) > 1 else None
        for part, tiles in parts:
            ins = buffer("tiles in", (16, tiles, c), g.dtype)
            outs = buffer("tiles out", (16, tiles, o), g.dtype)
            _cut_into(ins, x[part], self.padding)
            _spread(_lines(g[part]), _rows(g), outs)
            if part.start:
                total += product(outs.transpose(0, 2, 1), ins, share)
            else:
                product(outs.transpose(0, 2, 1), ins, total)
                total += 0  # -0 becomes 0, as a sum that starts at 0 has it
        # Gᵀ d G of each filter.
        np.matmul(total.reshape(16, -1).T, _TRANSFORMS[g.dtype.char], out=dw.reshape(-1, 9))
        if db is not None:
            db[...] = summed(g)


def _convolved(x: Array, filters: Array, shift: Array, padding: tuple[int, ...], y: Array) -> None:
    c, o = x.shape[3], y.shape[3]
    lines, rows = _lines(y), _rows(y)
    for part, tiles in _parts(y):
        ins = buffer("tiles in", (16, tiles, c), x.dtype)
        outs = buffer("tiles out", (16, tiles, o), x.dtype)
        _cut_into(ins, x[part], padding)
        product(ins, filters, outs)
        _joined(outs, shift, rows, lines[part])


def _parts(y: Array) -> Iterator[tuple[slice, int]]:
    """A few images at a time, and how many tiles they are."""
    each = y.shape[1] * y.shape[2] // 4
    step = max(1, _TILES // each)
    for i in range(0, len(y), step):
        stop = min(i + step, len(y))
        yield slice(i, stop), (stop - i) * each


def _filters(weight: Array, transform: Array) -> Array:
    """G w Gᵀ of each filter: (16, o, c)."""
    o, c = weight.shape[:2]
    filters = buffer("filters", (16, o, c), weight.dtype)
    np.matmul(transform, weight.reshape(o * c, 9).T, out=filters.reshape(16, o * c))
    return filters


def _cut_into(tiles: Array, x: Array, padding: tuple[int, ...]) -> None:
    b, h, w, c = x.shape
    top, left = padding
    padded = buffer("padded", (b, h + 2 * top, w + 2 * left, c), x.dtype)
    padded.fill(0)
    padded[:, top : top + h, left : left + w] = x
    lines = _lines(padded)
    _cut(lines, buffer("rows", (4, lines.shape[2]), x.dtype), tiles)


def _lines(x: Array) -> Array:
    """Images as lines of pixels: (n, h, w c)."""
    return x.reshape(*x.shape[:2], -1)


def _rows(y: Array) -> Array:
    return buffer("rows", (4, y.shape[2] * y.shape[3]), y.dtype)


# A loop is over one row of memory and few pointers: then it is vectorised. Rows that differ in
# their signs have one loop, for each one takes its time to be compiled.

_A, _B, _SIGNS = (0, 1, 2, 1), (2, 2, 1, 3), (-1, 1, -1, -1)
"""Bᵀ: each row is one minus, or plus, another."""


@kernel
def _cut(lines: Array, rows: Array, tiles: Array) -> None:
    """Bᵀ x B of each tile of 4 x 4, two apart."""
    channels, length, t = tiles.shape[2], lines.shape[2], 0
    for image in range(lines.shape[0]):
        for i in range(0, lines.shape[1] - 2, 2):
            for k in range(4):
                a, b, row = lines[image, i + _A[k]], lines[image, i + _B[k]], rows[k]
                sign = lines.dtype.type(_SIGNS[k])
                for j in range(length):
                    row[j] = a[j] + sign * b[j]
            for at in range(0, length - 2 * channels, 2 * channels):
                for k in range(16):
                    m = k % 4
                    first, second = at + _A[m] * channels, at + _B[m] * channels
                    p, q = rows[k // 4, first:], rows[k // 4, second:]
                    sign, out = lines.dtype.type(_SIGNS[m]), tiles[k, t]
                    for c in range(channels):
                        out[c] = p[c] + sign * q[c]
                t += 1


@kernel
def _joined(tiles: Array, shift: Array, rows: Array, lines: Array) -> None:
    """Aᵀ m A of each tile, and the shift: added to the one row that is in both rows of y once."""
    channels, length, t = tiles.shape[2], lines.shape[2], 0
    for image in range(lines.shape[0]):
        for i in range(0, lines.shape[1], 2):
            for at in range(0, length, 2 * channels):
                for k in range(8):
                    right = k % 2
                    first = k // 2 * 4 + right
                    a, b, d = tiles[first, t], tiles[first + 1, t], tiles[first + 2, t]
                    sign, out = (
                        lines.dtype.type(1 - 2 * right),
                        rows[k // 2, at + right * channels :],
                    )
                    for c in range(channels):
                        out[c] = a[c] + sign * (b[c] + d[c])
                    if k // 2 == 1:
                        for c in range(channels):
                            out[c] += shift[c]
                t += 1
            for k in range(2):
                x, y, z, line = rows[k], rows[k + 1], rows[k + 2], lines[image, i + k]
                sign = lines.dtype.type(1 - 2 * k)
                for j in range(length):
                    line[j] = x[j] + sign * (y[j] + z[j])


@kernel
def _spread(lines: Array, rows: Array, tiles: Array) -> None:
    """A g Aᵀ of each tile of 2 x 2."""
    channels, length, t = tiles.shape[2], lines.shape[2], 0
    one = lines.dtype.type(1)
    for image in range(lines.shape[0]):
        for i in range(0, lines.shape[1], 2):
            for k in range(2):
                side, mix = lines[image, i + k], rows[1 + k]
                upper, lower, row = lines[image, i], lines[image, i + 1], rows[3 * k]
                sign = one - k - k
                for j in range(length):
                    row[j] = sign * side[j]
                for j in range(length):
                    mix[j] = upper[j] + sign * lower[j]
            for at in range(0, length, 2 * channels):
                for k in range(8):
                    m, row = k % 2, rows[k // 2]
                    left, right = row[at:], row[at + channels :]
                    side = row[at + m * channels :]
                    sign = one - m - m
                    outer, inner = tiles[k // 2 * 4 + 3 * m, t], tiles[k // 2 * 4 + 1 + m, t]
                    for c in range(channels):
                        outer[c] = sign * side[c]
                    for c in range(channels):
                        inner[c] = left[c] + sign * right[c]
                t += 1
