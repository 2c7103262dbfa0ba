"""The user's verbs: sums, copies and barriers over all ranks of a transport.

It knows arrays and bytes, nothing of gradients.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from distgrad.comm.algorithms import ALL_REDUCE, basic, ring, tree
from distgrad.comm.channel import even_slices
from distgrad.comm.message import Array, Steps
from distgrad.comm.transport import Transport
from distgrad.comm.work import Work, start
from distgrad.errors import CommError


class Communicator:
    """The collectives over all ranks of ``transport``, on a private duplicate of it.

    Making one is itself collective. Every rank must call the same collectives in the same order
    with the same shapes and dtypes; each call is checked, MismatchError names the ranks. A wait
    that sees no progress for ``timeout`` seconds raises CommTimeoutError.
    """

    def __init__(self, transport: Transport, *, timeout: float = 300.0) -> None:
        # Splitting blocks inside MPI, where no watchdog reaches: go there when all are here.
        start(transport, "Communicator()", _nothing, everyone=True, timeout=timeout).wait()
        self.transport = transport.split(0, transport.rank)
        self.timeout = timeout
        self.rank = self.transport.rank
        self.size = self.transport.size
        self._label = self.transport.state.label
        self._progress = self.transport.state.progress(self.transport.context)

    @property
    def bytes_sent(self) -> int:
        """Payload this rank has sent in completed collectives, in bytes."""
        return self._progress.bytes_sent

    def all_reduce(self, array: Array, *, algorithm: str = "ring", name: str = "") -> None:
        """Replace the array, on every rank, by its sum over all ranks."""
        self.start_all_reduce(array, algorithm=algorithm, name=name).wait()

    def start_all_reduce(self, array: Array, *, algorithm: str = "ring", name: str = "") -> Work:
        """Start an all_reduce; the array must not be touched until the work is done.

        ``algorithm`` is "ring" (bandwidth-optimal, same bits at the same size), "tree" (canonical
        order over the ranks) or "native" (MPI's own).
        """
        if algorithm not in ALL_REDUCE:
            known = ", ".join(map(repr, ALL_REDUCE))
            raise CommError(f"{self._label} no all_reduce algorithm {algorithm!r}; use {known}")
        kind = "all_reduce" if algorithm == "ring" else f"{algorithm} all_reduce"
        flat = self._flat(kind, array, name, summed=True)
        steps = ALL_REDUCE[algorithm]
        what = _describe(kind, name, flat.dtype, flat.size)
        # In a ring data comes from the left neighbour only, whose fingerprint is then enough.
        everyone = algorithm != "ring"
        return start(
            self.transport, what, lambda c: steps(c, flat), everyone=everyone, timeout=self.timeout
        )

    def start_tree_all_reduce(
        self,
        parts: Sequence[tree.Part],
        out: Array,
        runs: Sequence[range],
        *,
        absent: Collection[int] = (),
        name: str = "",
    ) -> Work:
        """Start the canonical sum of summands of which rank r holds the run ``runs[r]``.

        ``parts`` are this rank's partial sums (``TreeSum(run).parts``; they are overwritten),
        ``absent`` the summands nobody has, the same on all ranks; the total goes to ``out``, which
        may be one of the parts. Raises CommError if parts do not fit runs and absent.
        """
        kind = "tree all_reduce"
        flat = self._flat(kind, out, name, summed=True)
        gone = tuple(sorted(set(absent)))
        nodes = _table(tuple(runs), gone)
        if len(runs) != self.size or not any(nodes):
            raise CommError(
                f"{self._label} {kind} {name!r} needs one run of summands for each of the "
                f"{self.size} ranks and at least one summand present; got {len(runs)} runs, "
                f"absent {list(gone)}"
            )
        mine = [(level, index) for level, index, _ in parts]
        if sorted(mine) != sorted(nodes[self.rank]):
            raise CommError(
                f"{self._label} {kind} {name!r}: the parts are for the nodes {mine}, but run "
                f"{runs[self.rank]} without {list(gone)} has {list(nodes[self.rank])}; make them "
                "with TreeSum(run) and name the same absent summands on all ranks"
            )
        flats = [(lv, i, self._flat(kind, a, name, summed=True)) for lv, i, a in parts]
        for _, _, part in flats:
            if part.dtype != flat.dtype or part.size != flat.size:
                raise CommError(
                    f"{self._label} {kind} {name!r}: a part is {part.dtype} x {part.size}, out is "
                    f"{flat.dtype} x {flat.size}; they must be alike"
                )
        what = _describe(kind, name, flat.dtype, flat.size, _spell(tuple(runs), gone))
        return start(
            self.transport,
            what,
            lambda c: tree.tree_all_reduce(c, flats, flat, nodes),
            everyone=True,
            timeout=self.timeout,
        )

    def reduce_scatter(
        self, array: Array, *, slices: Sequence[slice] | None = None, name: str = ""
    ) -> Array:
        """Return this rank's slice of the sum over all ranks, a view into the flat array.

        ``slices[r]`` is rank r's, by default nearly equal ones in rank order. The rest of the
        array is overwritten with partial sums.
        """
        work, own = self.start_reduce_scatter(array, slices=slices, name=name)
        work.wait()
        return own

    def start_reduce_scatter(
        self, array: Array, *, slices: Sequence[slice] | None = None, name: str = ""
    ) -> tuple[Work, Array]:
        """Start a reduce_scatter; the view returned is valid once the work is done."""
        flat = self._flat("reduce_scatter", array, name, summed=True)
        cut, extra = self._cut("reduce_scatter", flat, slices, name)
        what = _describe("reduce_scatter", name, flat.dtype, flat.size, extra)
        work = start(
            self.transport,
            what,
            lambda c: ring.reduce_scatter(c, flat, cut),
            everyone=False,
            timeout=self.timeout,
        )
        return work, flat[cut[self.rank]]

    def all_gather(
        self, array: Array, *, slices: Sequence[slice] | None = None, name: str = ""
    ) -> None:
        """Fill the array, on every rank, with rank r's ``slices[r]`` of it for all r."""
        self.start_all_gather(array, slices=slices, name=name).wait()

    def start_all_gather(
        self, array: Array, *, slices: Sequence[slice] | None = None, name: str = ""
    ) -> Work:
        """Start an all_gather; the array must not be touched until the work is done."""
        flat = self._flat("all_gather", array, name)
        cut, extra = self._cut("all_gather", flat, slices, name)
        what = _describe("all_gather", name, flat.dtype, flat.size, extra)
        return start(
            self.transport,
            what,
            lambda c: ring.all_gather(c, flat, cut),
            everyone=False,
            timeout=self.timeout,
        )

    def broadcast(self, array: Array, root: int = 0, *, name: str = "") -> None:
        """Copy rank ``root``'s array into everyone's."""
        flat = self._flat("broadcast", array, name)
        self._check_root(root)
        what = _describe(f"broadcast from rank {root}", name, flat.dtype, flat.size)
        self._run(what, lambda c: basic.broadcast(c, flat, root))

    def barrier(self) -> None:
        """Return when every rank has called it."""
        # The check of the fingerprints with everyone is a barrier; there is nothing to add.
        self._run("barrier", _nothing)

    def all_gather_bytes(self, data: bytes) -> list[bytes]:
        """Return every rank's bytes, in rank order."""
        result: list[bytes] = []
        self._run("all_gather_bytes", lambda c: basic.all_gather_bytes(c, data, result))
        return result

    def broadcast_bytes(self, data: bytes = b"", root: int = 0) -> bytes:
        """Return rank ``root``'s bytes; what the other ranks pass is ignored."""
        self._check_root(root)
        result: list[bytes] = []
        what = f"broadcast_bytes from rank {root}"
        self._run(what, lambda c: basic.broadcast_bytes(c, data, root, result))
        return result[0]

    def _run(self, what: str, body: Any) -> None:
        start(self.transport, what, body, everyone=True, timeout=self.timeout).wait()

    def _check_root(self, root: int) -> None:
        if not 0 <= root < self.size:
            raise CommError(f"{self._label} no rank {root} to broadcast from; size is {self.size}")

    def _cut(
        self, kind: str, flat: Array, slices: Sequence[slice] | None, name: str
    ) -> tuple[Sequence[slice], str]:
        """Check the slices; return them and, where the caller chose them, their spelling."""
        if slices is None:
            return even_slices(flat.size, self.size), ""
        bounds = [(s.start, s.stop) for s in slices]
        if len(bounds) != self.size or any(not 0 <= a <= b <= flat.size for a, b in bounds):
            raise CommError(
                f"{self._label} {kind} {name!r} of {flat.size} elements needs one slice(start, "
                f"stop) inside them for each of the {self.size} ranks; got {list(slices)}"
            )
        return slices, " in slices " + " ".join(f"{a}:{b}" for a, b in bounds)

    def _flat(self, kind: str, array: Array, name: str, *, summed: bool = False) -> Array:
        """Return the array as a flat view; CommError names what the wire cannot carry."""
        what = f"{self._label} {kind} {name!r}"
        if not isinstance(array, np.ndarray):
            raise CommError(f"{what} needs a NumPy array, got {type(array).__name__}")
        if array.dtype.hasobject:
            raise CommError(f"{what}: Python objects do not cross the wire; send numbers or bytes")
        if summed and array.dtype.kind not in "iufc":
            raise CommError(f"{what} sums numbers, not {array.dtype}; convert with .astype")
        if not (array.flags.c_contiguous and array.flags.writeable):
            raise CommError(
                f"{what} needs a C-contiguous, writable array, because it is changed in place; "
                "pass np.ascontiguousarray(array) or a copy"
            )
        return array.reshape(-1)


def _nothing(_: object) -> Steps:
    yield ()


@lru_cache(maxsize=4096)
def _describe(kind: str, name: str, dtype: np.dtype[Any], count: int, extra: str = "") -> str:
    return f"{kind} {name!r} {dtype} x {count}{extra}"


@lru_cache(maxsize=256)
def _table(runs: tuple[range, ...], absent: tuple[int, ...]) -> list[list[tree.Node]]:
    return [tree.nodes_of(run, absent) for run in runs]


@lru_cache(maxsize=256)
def _spell(runs: tuple[range, ...], absent: tuple[int, ...]) -> str:
    spelled = " ".join(f"{run.start}:{run.stop}" for run in runs)
    without = f" without {' '.join(map(str, absent))}" if absent else ""
    return f" over runs {spelled}{without}"
