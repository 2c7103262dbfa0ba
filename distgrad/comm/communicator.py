"""The user's verbs: sums, copies and barriers over all ranks of a transport.

It knows arrays and bytes, nothing of gradients.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from distgrad.comm import sharing
from distgrad.comm.algorithms import ALL_REDUCE, AUTO, Algorithm, basic, choose, ring
from distgrad.comm.canonical import Part, Plan, one_each, plan
from distgrad.comm.group import Group, even_slices
from distgrad.comm.message import Array, Steps
from distgrad.comm.node import Node, SharedArray, Spec
from distgrad.comm.patience import check_timeout
from distgrad.comm.quick import KnownSum, Started
from distgrad.comm.topology import Topology
from distgrad.comm.transport import Transport
from distgrad.comm.work import Work
from distgrad.errors import CommError

_MOST_KNOWN = 4096  # all_reduces of which it is remembered what they are


class Communicator:
    """The collectives over all ranks of ``transport``, on a private duplicate of it.

    Making one is itself collective. Every rank must call the same collectives in the same order
    with the same shapes and dtypes; each call is checked, MismatchError names the ranks. A wait
    that sees no progress for ``timeout`` seconds (``math.inf``: for ever) raises CommTimeoutError.
    """

    def __init__(self, transport: Transport, *, timeout: float = 300.0) -> None:
        check_timeout(timeout)
        self.transport, self.timeout = transport, timeout
        # Splitting blocks inside MPI, where no watchdog reaches: go there when all are here.
        group, node = Group(transport), Node(transport.size)
        self._start(group, "Communicator()", sharing.meet(group, node)).wait()
        self.transport = transport.split(0, transport.rank)
        self.transport.node = node
        self.rank = self.transport.rank
        self.size = self.transport.size
        self._label = self.transport.state.label
        self._progress = self.transport.state.progress(self.transport.context)
        self._known: dict[object, KnownSum] = {}

    @property
    def bytes_sent(self) -> int:
        """Payload this rank has sent in completed collectives, in bytes."""
        return self._progress.bytes_sent

    @property
    def topology(self) -> Topology:
        """Which ranks share a node's memory."""
        return self.transport.node.topology

    def share(self, specs: Sequence[Spec]) -> list[SharedArray] | None:
        """Return arrays that all ranks of the node can read, each (elements, dtype, how many).

        Sums over them, as long as they are held, need no copies: each is this rank's ``own``, and
        ``of[rank]`` that of a neighbour. None where no two ranks share memory, or there is not as
        much of it: then on every rank. Collective.
        """
        if not self.topology.shares:
            return None
        found: list[SharedArray] = []
        group = Group(self.transport)
        steps = sharing.make_arrays(group, specs, found)
        sizes = " ".join(f"{dtype} x {count} x {arrays}" for count, dtype, arrays in specs)
        self._start(group, f"share {sizes}", steps).wait()
        return found or None

    def all_reduce(
        self, array: Array, *, algorithm: str = AUTO, canonical: bool = False, name: str = ""
    ) -> None:
        """Replace the array, on every rank, by its sum over all ranks; as ``start_all_reduce``."""
        self.start_all_reduce(array, algorithm=algorithm, canonical=canonical, name=name).wait()

    def start_all_reduce(
        self, array: Array, *, algorithm: str = AUTO, canonical: bool = False, name: str = ""
    ) -> Started:
        """Start an all_reduce; the array must not be touched until the work is done.

        ``algorithm`` is one of the table ``ALL_REDUCE``, or "auto": the one for these nodes, of
        those that keep the canonical order if ``canonical``. Each rank is one summand then.
        """
        if type(array) is np.ndarray and array.flags.carray:
            shared = self.transport.node.find(array)
            key = (shared, array.dtype, array.size, algorithm, canonical, name)
            known = self._known.get(key)
            if known is not None:
                flat = array if array.ndim == 1 else array.reshape(-1)
                return known.start([flat], flat)
        chosen, kind = self._chosen(algorithm, canonical)
        flat = self._flat(kind, array, name, summed=True)
        known = self._know(chosen, kind, one_each(self.size), flat, name, "")
        if len(self._known) == _MOST_KNOWN:
            self._known.clear()
        shared = self.transport.node.find(array)
        self._known[shared, array.dtype, array.size, algorithm, canonical, name] = known
        return known.start([flat], flat)

    def start_sum(
        self,
        parts: Sequence[Part],
        out: Array,
        runs: Sequence[range],
        *,
        absent: Collection[int] = (),
        algorithm: str = AUTO,
        canonical: bool = True,
        slices: Sequence[slice] | None = None,
        name: str = "",
    ) -> Started:
        """Start the sum of summands of which rank r holds the run ``runs[r]``.

        ``parts`` are this rank's partial sums (``TreeSum(run).parts``; they are overwritten),
        ``absent`` the summands nobody has, the same on all ranks; the total goes to ``out``, which
        may be one of the parts. With a canonical algorithm its bits depend on the summands alone.
        With ``slices``, one for each rank, only ``out[slices[rank]]`` holds its total; the rest is
        overwritten.
        Raises CommError if parts do not fit runs and absent.
        """
        known = self.know_sum(
            out,
            runs,
            absent=absent,
            algorithm=algorithm,
            canonical=canonical,
            slices=slices,
            name=name,
        )
        return known.start(self._fitting(known, parts, out, name), out.reshape(-1))

    def know_sum(
        self,
        out: Array,
        runs: Sequence[range],
        *,
        absent: Collection[int] = (),
        algorithm: str = AUTO,
        canonical: bool = True,
        slices: Sequence[slice] | None = None,
        name: str = "",
    ) -> KnownSum:
        """Return what ``start_sum`` finds out first, for a sum into ``out`` that is made often."""
        chosen, kind = self._chosen(algorithm, canonical)
        flat = self._flat(kind, out, name, summed=True)
        whole = self._plan(kind, runs, absent, name)
        if slices is None:
            return self._know(chosen, kind, whole, flat, name, whole.text)
        cut, extra = self._cut(kind, flat, slices, name)
        return self._know(chosen, kind, whole, flat, name, whole.text + extra, cut)

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
        group = Group(self.transport)
        work = self._start(group, what, ring.reduce_scatter(group, flat, cut), everyone=False)
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
        group = Group(self.transport)
        return self._start(group, what, ring.all_gather(group, flat, cut), everyone=False)

    def broadcast(self, array: Array, root: int = 0, *, name: str = "") -> None:
        """Copy rank ``root``'s array into everyone's."""
        flat = self._flat("broadcast", array, name)
        self._check_root(root)
        what = _describe(f"broadcast from rank {root}", name, flat.dtype, flat.size)
        group = Group(self.transport)
        self._start(group, what, basic.broadcast(group, flat, root)).wait()

    def check_algorithm(self, algorithm: str) -> None:
        """Raise CommError if there is no all_reduce of this name, or it cannot run here."""
        self._chosen(algorithm, False)

    def barrier(self) -> None:
        """Return when every rank has called it."""
        # The check of the fingerprints with everyone is a barrier; there is nothing to add.
        self._start(Group(self.transport), "barrier", _nothing()).wait()

    def all_gather_bytes(self, data: bytes) -> list[bytes]:
        """Return every rank's bytes, in rank order."""
        result: list[bytes] = []
        group = Group(self.transport)
        steps = basic.all_gather_bytes(group, data, result)
        self._start(group, "all_gather_bytes", steps).wait()
        return result

    def broadcast_bytes(self, data: bytes = b"", root: int = 0) -> bytes:
        """Return rank ``root``'s bytes; what the other ranks pass is ignored."""
        self._check_root(root)
        result: list[bytes] = []
        group = Group(self.transport)
        steps = basic.broadcast_bytes(group, data, root, result)
        self._start(group, f"broadcast_bytes from rank {root}", steps).wait()
        return result[0]

    def _know(
        self,
        chosen: Algorithm,
        kind: str,
        whole: Plan,
        flat: Array,
        name: str,
        text: str,
        slices: Sequence[slice] | None = None,
    ) -> KnownSum:
        # Ranks whose arrays do not lie alike would wait for each other.
        where = "" if self.transport.node.find(flat) is None else " in shared memory"
        what = _describe(kind, name, flat.dtype, flat.size, text + where)
        return KnownSum(self.transport, chosen, whole, what, self.timeout, out=flat, slices=slices)

    def _start(self, group: Group, what: str, steps: Steps, *, everyone: bool = True) -> Work:
        return Work(group, what, steps, everyone=everyone, timeout=self.timeout)

    def _chosen(self, algorithm: str, canonical: bool) -> tuple[Algorithm, str]:
        """Return the algorithm and what its collectives are called."""
        if algorithm == AUTO:
            return ALL_REDUCE[choose(self.topology, canonical)], "all_reduce"
        chosen = ALL_REDUCE.get(algorithm)
        if chosen is None:
            known = ", ".join(map(repr, (AUTO, *ALL_REDUCE)))
            raise CommError(f"{self._label} no all_reduce algorithm {algorithm!r}; use {known}")
        if chosen.missing is not None and (needed := chosen.missing(self.transport)):
            anywhere = ", ".join(repr(n) for n, a in ALL_REDUCE.items() if a.missing is None)
            raise CommError(
                f"{self._label} the all_reduce algorithm {algorithm!r} needs {needed}; these run "
                f"everywhere: {anywhere}"
            )
        return chosen, f"{algorithm} all_reduce"

    def _plan(self, kind: str, runs: Sequence[range], absent: Collection[int], name: str) -> Plan:
        if len(runs) != self.size:
            raise CommError(
                f"{self._label} {kind} {name!r} needs one run of summands for each of the "
                f"{self.size} ranks; got {len(runs)} runs"
            )
        try:
            return plan(tuple(runs), tuple(sorted(set(absent))))
        except ValueError as error:
            raise CommError(f"{self._label} {kind} {name!r} {error}") from None

    def _fitting(
        self, known: KnownSum, parts: Sequence[Part], out: Array, name: str
    ) -> list[Array]:
        """Return the parts as flat arrays, checked against the sum and ``out``."""
        held = {(level, index): array for level, index, array in parts}
        mine = [(level, index) for level, index, _ in parts]
        if sorted(mine) != sorted(known.nodes):
            raise CommError(
                f"{self._label} {known.what}: the parts are for the nodes {mine}, but this rank "
                f"is expected to bring {known.nodes}; make them with TreeSum(run) and name the "
                "same absent summands on all ranks"
            )
        flats = [self._flat(known.what, held[node], name, summed=True) for node in known.nodes]
        for part in flats:
            if part.dtype != out.dtype or part.size != out.size:
                raise CommError(
                    f"{self._label} {known.what}: a part is {part.dtype} x {part.size}, out is "
                    f"{out.dtype} x {out.size}; they must be alike"
                )
        return flats

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

    def _flat(self, kind: str, array: object, name: str, *, summed: bool = False) -> Array:
        """Return the array as a flat view; CommError names what the wire cannot carry."""
        if not isinstance(array, np.ndarray):
            fault = f" needs a NumPy array, got {type(array).__name__}"
        elif array.dtype.hasobject:
            fault = ": Python objects do not cross the wire; send numbers or bytes"
        elif summed and array.dtype.kind not in "iufc":
            fault = f" sums numbers, not {array.dtype}; convert with .astype"
        elif not (array.flags.c_contiguous and array.flags.writeable):
            fault = (
                " needs a C-contiguous, writable array, because it is changed in place; "
                "pass np.ascontiguousarray(array) or a copy"
            )
        else:
            return array.reshape(-1)
        raise CommError(f"{self._label} {kind} {name!r}{fault}")


def _nothing() -> Steps:
    yield ()


@lru_cache(maxsize=4096)
def _describe(kind: str, name: str, dtype: np.dtype[Any], count: int, extra: str = "") -> str:
    return f"{kind} {name!r} {dtype} x {count}{extra}"
