"""Sums of squares over fixed-size blocks: twins of ``distgrad.optim.norms.square``, same bits."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.jit import exact_kernel


@exact_kernel
def square(block: Array) -> float:
    """Return the sum of the squares of a contiguous block, in double precision."""
    return _square(block, np.empty(64))


@exact_kernel
def squares_(flat: Array, bounds: Array, block: int, out: Array) -> None:
    """Write into ``out[i]`` the sum of the squares of flat[bounds[i]:bounds[i + 1]], by blocks."""
    lanes = np.empty(64)
    for i in range(out.size):
        total = 0.0
        for first in range(bounds[i], bounds[i + 1], block):
            total += _square(flat[first : min(first + block, bounds[i + 1])], lanes)
        out[i] = total


@exact_kernel
def _square(block: Array, lanes: Array) -> float:
    # In 64 lanes, which are folded at the end: this can be vectorised, and has the same bits
    # whatever the processor.
    lanes[:] = 0
    whole = block.size // 64
    for i in range(whole):
        row = block[i * 64 : (i + 1) * 64]
        for k in range(64):
            wide = np.float64(row[k])
            lanes[k] += wide * wide
    rest = block[whole * 64 :]
    for k in range(rest.size):
        wide = np.float64(rest[k])
        lanes[k] += wide * wide
    for i in range(8, 64, 8):
        for k in range(8):
            lanes[k] += lanes[i + k]
    total = 0.0
    for k in range(8):
        total += lanes[k]
    return total
