"""Where the values of shared buckets live, and how they come back to a rank that did not move them.

Here each rank has memory of its own, and what the others moved comes in messages.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.comm import Communicator, Work
from distgrad.parallel.zero_cut import Slices

_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # of a shared mapping pages do not go back


class Pages:
    """An array whose memory can be given back in part: it is then zero, and at the same address."""

    def __init__(self, count: int, dtype: Any) -> None:
        size = count * np.dtype(dtype).itemsize
        self._map = mmap.mmap(-1, max(size, 1), flags=_PRIVATE)
        self.array: Array = np.frombuffer(self._map, dtype, count)

    def keep(self, *wanted: slice) -> None:
        """Give back all pages in which there is nothing of the elements ``wanted``, in order."""
        item, page = self.array.itemsize, mmap.PAGESIZE
        free = 0
        for start, stop in [
            *((s.start * item, s.stop * item) for s in wanted if s.stop > s.start),
            (len(self._map) + page, 0),
        ]:
            first, end = -(-free // page) * page, min(start // page * page, len(self._map))
            if first < end:
                self._map.madvise(mmap.MADV_DONTNEED, first, end - first)
            free = stop


class OverMessages:
    """Each rank has its own copy of a bucket's values, of which it moves its slice."""

    def __init__(self, comm: Communicator) -> None:
        self.comm = comm

    def start(self, values: Array, slices: Slices, name: str) -> Work:
        """Start to bring each rank's slice of ``values`` to all ranks."""
        return self.comm.start_all_gather(values, slices=slices, name=f"values of {name}")
