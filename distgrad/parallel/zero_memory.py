"""Where the values of shared buckets live, and how they come back to a rank that did not move them.

Ranks of a node have them once, in memory that all of them can read. Where there is none, each rank
has a copy of its own, and what the others moved comes in messages.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any, Protocol, TypeAlias

import numpy as np

from distgrad.autograd.types import Array
from distgrad.comm import Communicator, Started
from distgrad.errors import DistgradError
from distgrad.parallel.zero_cut import Slices

_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE
_FENCE = Lock()
Moved: TypeAlias = "tuple[Array, Slices, str]"
"""Values of which each rank has moved its slice, and the name of the bucket."""
Spec: TypeAlias = "tuple[int, np.dtype[Any]]"
"""Elements and their dtype."""


class Pages(Protocol):
    """An array of which a part can be given back: it is then zero, and at the same address."""

    array: Array

    def come(self) -> None:
        """Note that all of it is there, on all ranks."""

    def leave(self, *wanted: slice) -> None:
        """Note that this rank reads nothing but the elements ``wanted``, in order."""

    def reserve(self, part: slice) -> None:
        """Have memory for what will be written. Errors: DistgradError if there is none."""


class OwnPages:
    """Memory of this rank alone."""

    def __init__(self, count: int, dtype: Any) -> None:
        size = count * np.dtype(dtype).itemsize
        self._map = mmap.mmap(-1, max(size, 1), flags=_PRIVATE)
        self.array: Array = np.frombuffer(self._map, dtype, count)

    def come(self) -> None:
        """Nobody else needs to know."""

    def leave(self, *wanted: slice) -> None:
        """Give the rest back."""
        self.keep(*wanted)

    def reserve(self, part: slice) -> None:
        """There is nothing to do: the system gives it when it is written to."""

    def keep(self, *wanted: slice) -> None:
        """Give back all pages in which there is nothing of the elements ``wanted``, in order."""
        for first, end in _unwanted(self.array, len(self._map), wanted):
            self._map.madvise(mmap.MADV_DONTNEED, first, end - first)


class NodePages:
    """Memory that the ranks of a node have in common; the last one to leave gives it back.

    ``left`` has a number of each of them: how often it has left. All come equally often, for that
    is collective, and nobody comes again before all are ready to.
    """

    def __init__(self, array: Array, left: Array, place: int) -> None:
        self.array, self._left, self._place = array, left, place
        self._map, self._start = mapping_of(array)
        self._came = 0

    def come(self) -> None:
        """Note that all ranks have it again."""
        self._came += 1

    def leave(self, *wanted: slice) -> None:
        """Give the rest back, if all others have left."""
        self._left[self._place] = self._came + 1
        with _FENCE:  # of two that leave at the same time at least one sees both
            pass
        if self._left.min() > self._came:
            self.keep(*wanted)

    def reserve(self, part: slice) -> None:
        """Take the memory now: without, writing to it would end the process."""
        item, page = self.array.itemsize, mmap.PAGESIZE
        first = (self._start + part.start * item) // page * page
        size = self._start + part.stop * item - first
        if part.stop <= part.start:
            return
        try:
            self._map.madvise(_POPULATE_WRITE, first, size)
        except OSError as error:
            raise DistgradError(
                f"{size / 2**20:.1f} MiB of shared memory for parameters that are to be fetched "
                f"cannot be had again ({error}): others have filled /dev/shm since they were given "
                f"back. Give the container or the node a larger one (docker run --shm-size=1g)"
            ) from None

    def keep(self, *wanted: slice) -> None:
        """Give back all pages in which there is nothing of the elements ``wanted``, in order."""
        size = -(-self.array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        for first, end in _unwanted(self.array, size, wanted):
            self._map.madvise(mmap.MADV_REMOVE, self._start + first, end - first)


def mapping_of(array: Array) -> tuple[mmap.mmap, int]:
    """Return the mapping in which an array of ``Communicator.share_once`` lies, and where."""
    found: Any = array
    while not isinstance(found, mmap.mmap):
        found = found.base if isinstance(found, np.ndarray) else found.obj
    start: int = np.frombuffer(found, np.uint8).__array_interface__["data"][0]
    return found, array.__array_interface__["data"][0] - start


def _unwanted(array: Array, end: int, wanted: Sequence[slice]) -> Iterator[tuple[int, int]]:
    """Yield first byte and end of all runs of pages without anything that is wanted."""
    item, page = array.itemsize, mmap.PAGESIZE
    free = 0
    for start, stop in [
        *((s.start * item, s.stop * item) for s in wanted if s.stop > s.start),
        (end + page, 0),
    ]:
        first, last = -(-free // page) * page, min(start // page * page, end)
        if first < last:
            yield first, last
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

    def start(
        self, moved: Sequence[Moved], ready: Callable[[], None] | None = None
    ) -> list[Started]:
        """Start to bring what each rank has moved to all ranks; ``ready`` as in start_exchange."""

    def kept(self, slices: Slices) -> list[slice]:
        """Return the parts, in order, that stay in memory of which the rest is given back."""

    def received(self, slices: Slices) -> list[slice]:
        """Return the parts that this rank receives for those who have its memory."""


class OwnCopy:
    """Each rank has its own copy of the values."""

    leads, common = True, False

    def __init__(self, comm: Communicator, arrays: list[Array]) -> None:
        self._comm, self.arrays = comm, arrays

    def before_writing(self) -> None:
        """There is nothing to wait for: nobody else reads them."""

    def start(
        self, moved: Sequence[Moved], ready: Callable[[], None] | None = None
    ) -> list[Started]:
        """Start an exchange for each bucket, in the order given."""
        return [
            self._comm.start_exchange(values, slices, ready=ready, name=f"values of {name}")
            for values, slices, name in moved
        ]

    def kept(self, slices: Slices) -> list[slice]:
        """Return this rank's."""
        return [slices[self._comm.rank]]

    def received(self, slices: Slices) -> list[slice]:
        """Return all others'."""
        return [s for rank, s in enumerate(slices) if rank != self._comm.rank]


class OncePerNode:
    """The ranks of a node have the values in common."""

    def __init__(self, comm: Communicator, arrays: list[Array]) -> None:
        self._comm, self.arrays = comm, arrays
        topology = comm.topology
        self._here = topology.nodes[topology.node_of[comm.rank]]
        self.leads = self._here[0] == comm.rank
        self.common = topology.one_node
        self._before = comm.know_barrier("before parameters are written")
        self._after = comm.know_barrier("parameters are written")
        self._quiet = False  # nobody reads: since the last barrier nothing was sent

    def before_writing(self) -> None:
        """Meet the others, once for all buckets: each comes when it has read the values."""
        if not self._quiet:
            work = self._before.at_once()
            if not work.done:
                work.wait()
            self._quiet = True

    def start(
        self, moved: Sequence[Moved], ready: Callable[[], None] | None = None
    ) -> list[Started]:
        """Start an exchange between nodes; in one node all meet when each has written."""
        self._quiet = False
        if self.common and moved:
            one = self._after.at_once()
            return [one] * len(moved)
        return [
            self._comm.start_exchange(
                values, slices, once=True, ready=ready, name=f"values of {name}"
            )
            for values, slices, name in moved
        ]

    def kept(self, slices: Slices) -> list[slice]:
        """Return those of the ranks of the node."""
        return sorted((slices[rank] for rank in self._here), key=lambda s: (s.start, s.stop))

    def received(self, slices: Slices) -> list[slice]:
        """Return those in this rank's charge."""
        return [slices[rank] for rank in self._comm.topology.charges[self._comm.rank]]


def allocate(comm: Communicator, specs: Sequence[Spec]) -> Memory:
    """Return memory for the values of buckets, once per node if that can be; collective."""
    arrays = comm.share_once(specs)
    if arrays is not None:
        return OncePerNode(comm, arrays)
    return OwnCopy(comm, [np.empty(count, dtype) for count, dtype in specs])


def allocate_pages(comm: Communicator, specs: Sequence[Spec]) -> tuple[Memory, list[Pages]]:
    """Return memory of which a part can be given back, once per node if that can be; collective."""
    topology = comm.topology
    here = topology.nodes[topology.node_of[comm.rank]]
    most = max(map(len, topology.nodes))
    arrays = comm.share_once([*specs, (len(specs) * most, np.dtype(np.int64))])
    if arrays is not None:
        *values, numbers = arrays
        able = comm.all_gather_bytes(b"yes" * _goes_back(values), name="memory can be given back")
        if all(able):
            left = numbers.reshape(-1, most)[:, : len(here)]
            place = here.index(comm.rank)
            pages: list[Pages] = [
                NodePages(array, row, place) for array, row in zip(values, left, strict=True)
            ]
            return OncePerNode(comm, values), pages
    return OwnCopy(comm, []), [OwnPages(count, dtype) for count, dtype in specs]


def _goes_back(arrays: Sequence[Array]) -> bool:
    """Whether the system can give a part of shared memory back, and have it again before writing.

    Linux from 5.14 on can.
    """
    if not hasattr(mmap, "MADV_REMOVE"):
        return False
    try:
        for array in arrays[:1]:
            mapping, start = mapping_of(array)
            mapping.madvise(mmap.MADV_REMOVE, start, mmap.PAGESIZE)
            mapping.madvise(_POPULATE_WRITE, start, mmap.PAGESIZE)
    except OSError:
        return False
    return True
