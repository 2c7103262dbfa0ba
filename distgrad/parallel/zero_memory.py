"""Where the values of shared buckets live, and how they come back to a rank that did not move them.

Ranks of a node have them once, in memory that all of them can read. Where there is none, each rank
has a copy of its own, and what the others moved comes in messages.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from distgrad.autograd.types import Array
from distgrad.comm import Communicator, Started
from distgrad.parallel.zero_cut import Slices

_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # of a shared mapping pages do not go back
Moved: TypeAlias = "tuple[Array, Slices, str]"
"""Values of which each rank has moved its slice, and the name of the bucket."""
Spec: TypeAlias = "tuple[int, np.dtype[Any]]"
"""Elements and their dtype."""


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


class Memory(Protocol):
    """The values of all buckets. All methods are collective."""

    arrays: list[Array]
    leads: bool
    """Whether this rank writes what is the same on all ranks."""
    common: bool
    """Whether all ranks have the values in common: there is one node."""

    def before_writing(self) -> None:
        """Return when no other rank reads what this one may write."""

    def start(self, moved: Sequence[Moved]) -> list[Started]:
        """Start to bring what each rank has moved to all ranks."""


class OwnCopy:
    """Each rank has its own copy of the values."""

    leads, common = True, False

    def __init__(self, comm: Communicator, arrays: list[Array]) -> None:
        self._comm, self.arrays = comm, arrays

    def before_writing(self) -> None:
        """There is nothing to wait for: nobody else reads them."""

    def start(self, moved: Sequence[Moved]) -> list[Started]:
        """Start an exchange for each bucket, in the order given."""
        return [
            self._comm.start_exchange(values, slices, name=f"values of {name}")
            for values, slices, name in moved
        ]


class OncePerNode:
    """The ranks of a node have the values in common."""

    def __init__(self, comm: Communicator, arrays: list[Array]) -> None:
        self._comm, self.arrays = comm, arrays
        topology = comm.topology
        self.leads = topology.nodes[topology.node_of[comm.rank]][0] == comm.rank
        self.common = topology.one_node
        self._before = comm.know_barrier("before parameters are written")
        self._after = comm.know_barrier("parameters are written")
        self._quiet = False  # nobody reads: since the last barrier nothing was sent

    def before_writing(self) -> None:
        """Meet the others, once for all buckets: each comes when it has read the values."""
        if not self._quiet:
            self._before.start().wait()
            self._quiet = True

    def start(self, moved: Sequence[Moved]) -> list[Started]:
        """Start an exchange between nodes; in one node all meet when each has written."""
        self._quiet = False
        if self.common and moved:
            one = self._after.start()
            return [one] * len(moved)
        return [
            self._comm.start_exchange(values, slices, once=True, name=f"values of {name}")
            for values, slices, name in moved
        ]


def allocate(comm: Communicator, specs: Sequence[Spec]) -> Memory:
    """Return memory for the values of buckets, once per node if that can be; collective."""
    arrays = comm.share_once(specs)
    if arrays is not None:
        return OncePerNode(comm, arrays)
    return OwnCopy(comm, [np.empty(count, dtype) for count, dtype in specs])
