"""The user's verbs: sums, copies and barriers over all ranks of a transport.

It knows arrays and bytes, nothing of gradients.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from distgrad.comm import sharing
from distgrad.comm.algorithms import ALL_REDUCE, AUTO, Algorithm, choose, combine, ring
from distgrad.comm.as_json import gather_json
from distgrad.comm.canonical import Part, Plan, one_each, plan
from distgrad.comm.checks import Checks, describe
from distgrad.comm.group import Group
from distgrad.comm.message import Array
from distgrad.comm.moves import Moves
from distgrad.comm.node import Node, SharedArray, Spec
from distgrad.comm.pairs import Pairs
from distgrad.comm.patience import check_timeout
from distgrad.comm.quick import KnownSum, Started
from distgrad.comm.topology import Topology
from distgrad.comm.transport import Transport
from distgrad.comm.work import Work
from distgrad.errors import CommError

_MOST_KNOWN = 4096  # all_reduces of which it is remembered what they are


class Communicator(Moves, Pairs):
    """The collectives over all ranks of ``transport``, on a private duplicate of it.

    Making one is itself collective. Every rank must call the same collectives in the same order
    with the same shapes and dtypes; each call is checked, MismatchError names the ranks. A wait
    that sees no progress for ``timeout`` seconds (``math.inf``: for ever) raises CommTimeoutError.
    """

    def __init__(self, transport: Transport, *, timeout: float = 300.0) -> None:
        check_timeout(timeout)
        self.transport, self.timeout = transport, timeout
        self._check = Checks(transport.state.label, transport.size)
        # Splitting blocks inside MPI, where no watchdog reaches: go there when all are here.
        group, node = Group(transport), Node(transport.size)
        self._start(group, "Communicator()", sharing.meet(group, node)).wait()
        self.transport = transport.split(0, transport.rank)
        self.transport.node = node
        self.rank = self.transport.rank
        self.size = self.transport.size
        self._progress = self.transport.state.progress(self.transport.context)
        self._known: dict[object, KnownSum] = {}
        self._pairs = {}

    @property
    def bytes_sent(self) -> int:
        """Payload this rank has sent in completed collectives and messages, in bytes."""
        return self._progress.bytes_sent + sum(pair.bytes_sent for pair in self._pairs.values())

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
        return self._share(specs, once=False)

    def share_once(self, specs: Sequence[tuple[int, np.dtype[np.generic]]]) -> list[Array] | None:
        """Return arrays, each (elements, dtype), that the ranks of a node have in common.

        None as in ``share``. Collective.
        """
        found = self._share([(*spec, 1) for spec in specs], once=True)
        return None if found is None else [shared.own for shared in found]

    def _share(self, specs: Sequence[Spec], *, once: bool) -> list[SharedArray] | None:
        if not self.topology.shares:
            return None
        found: list[SharedArray] = []
        group = Group(self.transport)
        steps = sharing.make_arrays(group, specs, found, once=once)
        sizes = " ".join(f"{dtype} x {count} x {arrays}" for count, dtype, arrays in specs)
        self._start(group, f"share{' once' * once} {sizes}", steps).wait()
        return found or None

    def split(self, color: int | str | None, key: int | None = None) -> Communicator | None:
        """Return a communicator of the ranks that give the same color; None where that is None.

        Its ranks are numbered by ``key``, by default in the order they have here. Collective.
        """
        colors = gather_json(self, color, "split")
        number = {c: i for i, c in enumerate(dict.fromkeys(colors))}
        part = self.transport.split(number[color], self.rank if key is None else key)
        return None if color is None else Communicator(part, timeout=self.timeout)

    def all_reduce(
        self,
        array: Array,
        *,
        op: str = "sum",
        algorithm: str = AUTO,
        canonical: bool = False,
        name: str = "",
    ) -> None:
        """Replace the array, on every rank, by its sum over all ranks; as ``start_all_reduce``."""
        self.start_all_reduce(
            array, op=op, algorithm=algorithm, canonical=canonical, name=name
        ).wait()

    def start_all_reduce(
        self,
        array: Array,
        *,
        op: str = "sum",
        algorithm: str = AUTO,
        canonical: bool = False,
        name: str = "",
    ) -> Started:
        """Start an all_reduce; the array must not be touched until the work is done.

        ``op`` is sum, mean, prod, max, min, band, bor or bxor. ``algorithm``, for a sum or a mean,
        is one of the table ``ALL_REDUCE``, or "auto": the one for these nodes, of those that keep
        the canonical order if ``canonical``. Each rank is one summand then.
        """
        if op != "sum":
            return self._start_combined(array, op, algorithm, canonical, name)
        if type(array) is np.ndarray and array.flags.carray:
            shared = self.transport.node.find(array)
            key = (shared, array.dtype, array.size, algorithm, canonical, name)
            known = self._known.get(key)
            if known is not None:
                flat = array if array.ndim == 1 else array.reshape(-1)
                return known.start([flat], flat)
        chosen, kind = self._chosen(algorithm, canonical, array)
        flat = self._check.flat(kind, array, name, summed=True)
        known = self._know(chosen, kind, one_each(self.size), flat, name, "")
        if len(self._known) == _MOST_KNOWN:
            self._known.clear()
        shared = self.transport.node.find(array)
        self._known[shared, array.dtype, array.size, algorithm, canonical, name] = known
        return known.start([flat], flat)

    def _start_combined(
        self, array: Array, op: str, algorithm: str, canonical: bool, name: str
    ) -> Work:
        chosen, kind = self._chosen(algorithm, canonical, array)
        flat = self._check.flat(kind, array, name)
        add = self._check.op(kind, op, flat, name)
        if op != "mean" and algorithm != AUTO:
            raise CommError(
                f"{self._check.label} {kind} {name!r}: the algorithms are of sums and means; leave "
                f"algorithm={algorithm!r} out with op={op!r}"
            )
        where = "" if self.transport.node.find(flat) is None else " in shared memory"
        what = describe(f"{kind} ({op})", name, flat.dtype, flat.size, where)
        group = Group(self.transport)
        if op != "mean":
            return self._start(group, what, combine.all_reduce(group, flat, add))
        steps = chosen.steps(group, flat)
        return self._start(group, what, combine.divide(steps, flat, self.size))

    def reduce(self, array: Array, root: int = 0, *, op: str = "sum", name: str = "") -> None:
        """Replace rank ``root``'s array by what ``op`` makes of all ranks'; the others keep theirs.

        In the canonical order, each rank one summand, whichever is the root.
        """
        self.start_reduce(array, root, op=op, name=name).wait()

    def start_reduce(self, array: Array, root: int = 0, *, op: str = "sum", name: str = "") -> Work:
        """Start a reduce; the array must not be touched until the work is done."""
        root = self._check.rank("reduce to", root)
        if self.rank == root:
            flat = self._check.flat("reduce", array, name)
        else:
            flat = self._check.sent("reduce", array, name).reshape(-1)
        add = self._check.op("reduce", op, flat, name)
        what = describe(f"reduce ({op}) to rank {root}", name, flat.dtype, flat.size)
        group = Group(self.transport)
        steps = combine.reduce(group, flat, root, add)
        if op == "mean" and self.rank == root:
            steps = combine.divide(steps, flat, self.size)
        return self._start(group, what, steps)

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
        return known.start(self._check.parts(known, parts, out, name), out.reshape(-1))

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
        chosen, kind = self._chosen(algorithm, canonical, out)
        flat = self._check.flat(kind, out, name, summed=True)
        whole = self._plan(kind, runs, absent, name)
        if slices is None:
            return self._know(chosen, kind, whole, flat, name, whole.text)
        cut, extra = self._check.cut(kind, flat, slices, name)
        return self._know(chosen, kind, whole, flat, name, whole.text + extra, cut)

    def reduce_scatter(
        self,
        array: Array,
        *,
        op: str = "sum",
        slices: Sequence[slice] | None = None,
        canonical: bool = False,
        name: str = "",
    ) -> Array:
        """Return this rank's slice of the sum over all ranks, a view into the flat array.

        ``slices[r]`` is rank r's, by default nearly equal ones in rank order. The rest of the
        array is overwritten with partial sums.
        """
        work, own = self.start_reduce_scatter(
            array, op=op, slices=slices, canonical=canonical, name=name
        )
        work.wait()
        return own

    def start_reduce_scatter(
        self,
        array: Array,
        *,
        op: str = "sum",
        slices: Sequence[slice] | None = None,
        canonical: bool = False,
        name: str = "",
    ) -> tuple[Work, Array]:
        """Start a reduce_scatter; the view returned is valid once the work is done.

        Sums and means go around the ring unless ``canonical``, each rank one summand.
        """
        flat = self._check.flat("reduce_scatter", array, name)
        add = self._check.op("reduce_scatter", op, flat, name)
        cut, extra = self._check.cut("reduce_scatter", flat, slices, name)
        around = add is np.add and not canonical
        kind = "reduce_scatter" if op == "sum" else f"reduce_scatter ({op})"
        extra += "" if around or add is not np.add else " in the canonical order"
        what = describe(kind, name, flat.dtype, flat.size, extra)
        group, own = Group(self.transport), flat[cut[self.rank]]
        if around:
            steps = ring.reduce_scatter(group, flat, cut)
        else:
            steps = combine.reduce_scatter(group, flat, cut, add)
        if op == "mean":
            steps = combine.divide(steps, own, self.size)
        return self._start(group, what, steps, everyone=not around), own

    def check_algorithm(self, algorithm: str) -> None:
        """Raise CommError if there is no all_reduce of this name, or it cannot run here."""
        self._chosen(algorithm, False, None)

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
        what = describe(kind, name, flat.dtype, flat.size, text + where)
        return KnownSum(self.transport, chosen, whole, what, self.timeout, out=flat, slices=slices)

    def _chosen(
        self, algorithm: str, canonical: bool, array: Array | None
    ) -> tuple[Algorithm, str]:
        """Return the algorithm and what its collectives are called."""
        if algorithm == AUTO:
            least = self.transport.state.tuning.ring_bytes
            nbytes = getattr(array, "nbytes", 0)
            return ALL_REDUCE[choose(self.topology, canonical, nbytes, least)], "all_reduce"
        chosen = ALL_REDUCE.get(algorithm)
        if chosen is None:
            known = ", ".join(map(repr, (AUTO, *ALL_REDUCE)))
            raise CommError(
                f"{self._check.label} no all_reduce algorithm {algorithm!r}; use {known}"
            )
        if chosen.missing is not None and (needed := chosen.missing(self.transport)):
            anywhere = ", ".join(repr(n) for n, a in ALL_REDUCE.items() if a.missing is None)
            raise CommError(
                f"{self._check.label} the all_reduce algorithm {algorithm!r} needs {needed}; these "
                f"run everywhere: {anywhere}"
            )
        return chosen, f"{algorithm} all_reduce"

    def _plan(self, kind: str, runs: Sequence[range], absent: Collection[int], name: str) -> Plan:
        if len(runs) != self.size:
            raise CommError(
                f"{self._check.label} {kind} {name!r} needs one run of summands for each of the "
                f"{self.size} ranks; got {len(runs)} runs"
            )
        try:
            return plan(tuple(runs), tuple(sorted(set(absent))))
        except ValueError as error:
            raise CommError(f"{self._check.label} {kind} {name!r} {error}") from None
