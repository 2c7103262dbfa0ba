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
from distgrad.kernels.jit import exact_kernel
from distgrad.kernels.onednn_convolution import Problem
from distgrad.kernels.products import product
from distgrad.kernels.scalars import least
from distgrad.kernels.two_sided import two_sided
from distgrad.kernels.vectors import BYTES

_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_TRANSFORMS = {t: np.kron(_G, _G).astype(t) for t in "fd"}  # 16 places of 9 taps: exact numbers
_TILES = 256  # so many make products large enough for BLAS and small enough for the cache


class Tiles:
    """A convolution and its gradients, of arrays (n, h, w, c) and weights (o, c, 3, 3).

    For 16 channels and more on both sides.
    """

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
            _spread(g[part].reshape(-1), outs.reshape(-1), *g.shape[1:])
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
    c, (_, height, width, o) = x.shape[3], y.shape
    for part, tiles in _parts(y):
        ins = buffer("tiles in", (16, tiles, c), x.dtype)
        outs = buffer("tiles out", (16, tiles, o), x.dtype)
        _cut_into(ins, x[part], padding)
        product(ins, filters, outs)
        _joined(outs.reshape(-1), shift, y[part].reshape(-1), height, width, o)


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
    _cut(padded.reshape(-1), tiles.reshape(-1), *padded.shape[1:])


_IN = two_sided(((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)))
"""Bᵀ x B."""
_OUT = two_sided(((1, 1, 1, 0), (0, 1, -1, -1)), shifted=True)
"""Aᵀ m A + b."""
_BACK = two_sided(((1, 0), (1, 1), (1, -1), (0, -1)))
"""A g Aᵀ."""

# Channels go by whole vectors: the last one goes as far back as it has to, and some are computed
# twice.


@exact_kernel
def _cut(x: Array, tiles: Array, height: int, width: int, channels: int) -> None:
    """Bᵀ x B of each tile of 4 x 4, two apart."""
    gap, t, lanes = len(tiles) // 16, 0, BYTES // x.itemsize
    for top in range(0, len(x), height * width * channels):
        for i in range(0, height - 2, 2):
            for j in range(0, width - 2, 2):
                at = top + (i * width + j) * channels
                for k in range(0, channels, lanes):
                    c = least(k, channels - lanes)
                    _IN(x, at + c, width * channels, channels, tiles, t + c, 4 * gap, gap)
                t += channels


@exact_kernel
def _joined(tiles: Array, shift: Array, y: Array, height: int, width: int, channels: int) -> None:
    """Aᵀ m A of each tile, and the shift."""
    gap, t, lanes = len(tiles) // 16, 0, BYTES // y.itemsize
    for top in range(0, len(y), height * width * channels):
        for i in range(0, height, 2):
            for j in range(0, width, 2):
                to = top + (i * width + j) * channels
                for k in range(0, channels, lanes):
                    c = least(k, channels - lanes)
                    _OUT(
                        tiles, t + c, 4 * gap, gap, y, to + c, width * channels, channels, shift, c
                    )
                t += channels


@exact_kernel
def _spread(g: Array, tiles: Array, height: int, width: int, channels: int) -> None:
    """A g Aᵀ of each tile of 2 x 2."""
    gap, t, lanes = len(tiles) // 16, 0, BYTES // g.itemsize
    for top in range(0, len(g), height * width * channels):
        for i in range(0, height, 2):
            for j in range(0, width, 2):
                at = top + (i * width + j) * channels
                for k in range(0, channels, lanes):
                    c = least(k, channels - lanes)
                    _BACK(g, at + c, width * channels, channels, tiles, t + c, 4 * gap, gap)
                t += channels
