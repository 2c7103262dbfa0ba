"""The verbs that move arrays and bytes from rank to rank, and change nothing in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distgrad.comm.algorithms import basic, exchange, ring, spread
from distgrad.comm.checks import describe, row_of
from distgrad.comm.group import Group
from distgrad.comm.message import Array
from distgrad.comm.patience import check_timeout
from distgrad.comm.quick import KnownBarrier, Started
from distgrad.comm.verbs import ResultWork, Verbs
from distgrad.comm.work import Work


class Moves(Verbs):
    """Broadcast, gather, scatter and exchange. Every ``start_…`` returns at once."""

    def barrier(self) -> None:
        """Return when every rank has called it."""
        self.start_barrier().wait()

    def start_barrier(self, *, timeout: float | None = None, name: str = "") -> Started:
        """Start a barrier: complete when every rank has started it.

        ``timeout`` in seconds, that of the communicator if it is left out.
        """
        if timeout is None:
            timeout = self.timeout
        check_timeout(timeout)
        return KnownBarrier(self.transport, timeout, name).start()

    def know_barrier(self, name: str) -> KnownBarrier:
        """Return what ``start_barrier`` finds out first, for a barrier that is made often."""
        return KnownBarrier(self.transport, self.timeout, name)

    def broadcast(self, array: Array, root: int = 0, *, name: str = "") -> None:
        """Copy rank ``root``'s array into everyone's."""
        self.start_broadcast(array, root, name=name).wait()

    def start_broadcast(self, array: Array, root: int = 0, *, name: str = "") -> Work:
        """Start a broadcast; the array must not be touched until the work is done."""
        flat = self._check.flat("broadcast", array, name)
        root = self._check.rank("broadcast from", root)
        what = describe(f"broadcast from rank {root}", name, flat.dtype, flat.size)
        group = Group(self.transport)
        return self._start(group, what, basic.broadcast(group, flat, root))

    def all_gather(
        self, array: Array, *, slices: Sequence[slice] | None = None, name: str = ""
    ) -> None:
        """Fill the array, on every rank, with rank r's ``slices[r]`` of it for all r."""
        self.start_all_gather(array, slices=slices, name=name).wait()

    def start_all_gather(
        self, array: Array, *, slices: Sequence[slice] | None = None, name: str = ""
    ) -> Work:
        """Start an all_gather; the array must not be touched until the work is done."""
        flat = self._check.flat("all_gather", array, name)
        cut, extra = self._check.cut("all_gather", flat, slices, name)
        what = describe("all_gather", name, flat.dtype, flat.size, extra)
        group = Group(self.transport)
        return self._start(group, what, ring.all_gather(group, flat, cut), everyone=False)

    def start_exchange(
        self,
        array: Array,
        slices: Sequence[slice],
        *,
        once: bool = False,
        ready: Callable[[], None] | None = None,
        name: str = "",
    ) -> Work:
        """Start an all_gather in which each rank sends its slice to all others at once.

        It needs one look at what has come where a ring needs a look every round. With ``once`` the
        array is one that the ranks of a node have in common (``share_once``): each slice comes to
        a node once, and all of it may be read by all when the work is done. ``ready`` is called
        when all ranks have come, before anything is received.
        """
        flat = self._check.flat("exchange", array, name)
        cut, extra = self._check.cut("exchange", flat, slices, name)
        what = describe("exchange", name, flat.dtype, flat.size, extra)
        group = Group(self.transport)
        steps = spread.all_gather(group, flat, cut, once=once, ready=ready)
        return self._start(group, what, steps)

    def all_gather_arrays(self, array: Array, *, name: str = "") -> list[Array]:
        """Return every rank's array, in rank order; they may differ in length along axis 0."""
        work = self.start_all_gather_arrays(array, name=name)
        work.wait()
        return work.result

    def start_all_gather_arrays(self, array: Array, *, name: str = "") -> ResultWork[list[Array]]:
        """Start an all_gather_arrays; the array must not be touched until the work is done."""
        rows = self._check.rows("all_gather_arrays", array, name)
        found: list[Array] = []
        what = describe("all_gather_arrays", name, rows.dtype, row_of(rows))
        group = Group(self.transport)
        return self._start_for(group, what, exchange.all_gather(group, rows, found), lambda: found)

    def gather(self, array: Array, root: int = 0, *, name: str = "") -> list[Array] | None:
        """Return every rank's array on rank ``root``, None elsewhere.

        They are in rank order and may differ in length along axis 0.
        """
        work = self.start_gather(array, root, name=name)
        work.wait()
        return work.result

    def start_gather(
        self, array: Array, root: int = 0, *, name: str = ""
    ) -> ResultWork[list[Array] | None]:
        """Start a gather; the array must not be touched until the work is done."""
        rows = self._check.rows("gather", array, name)
        root = self._check.rank("gather to", root)
        found: list[Array] = []
        what = describe(f"gather to rank {root}", name, rows.dtype, row_of(rows))
        group = Group(self.transport)
        steps = exchange.gather(group, rows, root, found)
        return self._start_for(group, what, steps, lambda: found if self.rank == root else None)

    def scatter(
        self, arrays: Sequence[Array] | None = None, root: int = 0, *, name: str = ""
    ) -> Array:
        """Return ``arrays[rank]`` of rank ``root``; what the other ranks pass is ignored."""
        work = self.start_scatter(arrays, root, name=name)
        work.wait()
        return work.result

    def start_scatter(
        self, arrays: Sequence[Array] | None = None, root: int = 0, *, name: str = ""
    ) -> ResultWork[Array]:
        """Start a scatter; the root's arrays must not be touched until the work is done."""
        root = self._check.rank("scatter from", root)
        given: list[Array] = []
        if self.rank == root:
            counted = self._check.counted("scatter", arrays, name)
            given = [self._check.sent("scatter", array, name) for array in counted]
            for array in given:
                exchange.head_of(array)  # what cannot be sent is refused before anything is
        found: list[Array] = []
        group = Group(self.transport)
        steps = exchange.scatter(group, given, root, found)
        what = f"scatter from rank {root} {name!r}"
        return self._start_for(group, what, steps, lambda: found[0])

    def all_to_all(self, arrays: Sequence[Array], *, name: str = "") -> list[Array]:
        """Return what each rank has for this one, in rank order; ``arrays[r]`` goes to rank r.

        The arrays have one dtype on all ranks, and may differ in length along axis 0.
        """
        work = self.start_all_to_all(arrays, name=name)
        work.wait()
        return work.result

    def start_all_to_all(
        self, arrays: Sequence[Array], *, name: str = ""
    ) -> ResultWork[list[Array]]:
        """Start an all_to_all; the arrays must not be touched until the work is done."""
        given = self._check.one_each("all_to_all", arrays, name)
        found: list[Array] = []
        what = describe("all_to_all", name, given[0].dtype, row_of(given[0]))
        group = Group(self.transport)
        return self._start_for(group, what, exchange.all_to_all(group, given, found), lambda: found)

    def all_gather_bytes(self, data: bytes, *, name: str = "") -> list[bytes]:
        """Return every rank's bytes, in rank order."""
        result: list[bytes] = []
        group = Group(self.transport)
        steps = basic.all_gather_bytes(group, data, result)
        self._start(group, f"all_gather_bytes {name!r}", steps).wait()
        return result

    def broadcast_bytes(self, data: bytes = b"", root: int = 0, *, name: str = "") -> bytes:
        """Return rank ``root``'s bytes; what the other ranks pass is ignored."""
        root = self._check.rank("broadcast from", root)
        result: list[bytes] = []
        group = Group(self.transport)
        steps = basic.broadcast_bytes(group, data, root, result)
        self._start(group, f"broadcast_bytes from rank {root} {name!r}", steps).wait()
        return result[0]
