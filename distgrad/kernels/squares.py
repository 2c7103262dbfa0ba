"""Sums of squares over fixed-size blocks: twins of ``distgrad.optim.norms.square``, same bits."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.jit import exact_kernel, part
from distgrad.kernels.scalars import empty_of, least

LANES = 64


@exact_kernel
def square(block: Array) -> float:
    """Return the sum of the squares of a contiguous block, in double precision."""
    return _square(block, empty_of(LANES, np.float64))


def squares_(flat: Array, bounds: Array, block: int, out: Array) -> None:
    """Write into ``out[i]`` the sum of the squares of flat[bounds[i]:bounds[i + 1]], by blocks."""
    in_lanes(flat, bounds, block, np.empty(LANES), out)


@exact_kernel
def in_lanes(flat: Array, bounds: Array, block: int, lanes: Array, out: Array) -> None:
    """Do what ``squares_`` does, with memory for ``LANES`` numbers.

    Every first step needs it: making that memory would double the time it takes to be compiled.
    """
    for i in range(out.size):
        total = 0.0
        for first in range(bounds[i], bounds[i + 1], block):
            total += _square(flat[first : least(first + block, bounds[i + 1])], lanes)
        out[i] = total


@part
def _square(block: Array, lanes: Array) -> float:
    # In 64 lanes, which are folded at the end: this can be vectorised, and has the same bits
    # whatever the processor.
    for k in range(LANES):
        lanes[k] = 0
    whole = block.size // LANES * LANES
    for i in range(0, whole, LANES):
        for k in range(LANES):
            wide = np.float64(block[i + k])
            lanes[k] += wide * wide
    for k in range(block.size - whole):
        wide = np.float64(block[whole + k])
        lanes[k] += wide * wide
    for i in range(8, LANES, 8):
        for k in range(8):
            lanes[k] += lanes[i + k]
    total = 0.0
    for k in range(8):
        total += lanes[k]
    return total
