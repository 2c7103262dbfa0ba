"""Several long-lived arrays in one piece of memory.

NumPy asks for pages of 2 MiB for arrays of 4 MiB and more, and gets those that lie wholly inside:
an array of little more than 4 MiB has half of its memory, or all, in pages of 4 KiB, and a matrix
product or an optimizer that reads it waits for the processor to look them up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.types import Array

_LINE = 64  # bytes of a cache line, in which each array begins


def in_a_row(
    specs: Sequence[tuple[int, np.dtype[Any]]], make: Callable[..., Array] = np.empty
) -> list[Array]:
    """Return arrays of these (size, dtype), those of a dtype in one array that ``make`` makes."""
    found: list[Array] = [np.empty(0)] * len(specs)
    for dtype in dict.fromkeys(dtype for _, dtype in specs):
        step = max(_LINE // dtype.itemsize, 1)
        members = [(i, size) for i, (size, own) in enumerate(specs) if own == dtype]
        starts = [0]
        for _, size in members:
            starts.append(starts[-1] + -(-size // step) * step)
        whole = make(starts[-1] + step, dtype)
        # An array begins where the C library says: at 16 bytes, or in a line.
        first = -(whole.ctypes.data // dtype.itemsize) % step
        for start, (i, size) in zip(starts, members, strict=False):
            found[i] = whole[first + start : first + start + size]
    return found
