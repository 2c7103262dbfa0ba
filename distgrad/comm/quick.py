"""Sums that are made again and again: what can be known of one before is looked up once.

Inside a node such a sum goes on by itself as long as nobody is late; then a Work, with its watch
over the wait, takes over where it stands. The order of the sums, and so the bits, are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TypeAlias

import numpy as np

from distgrad.comm import fork
from distgrad.comm.algorithms import Algorithm, board_sum, hierarchical
from distgrad.comm.board import Board
from distgrad.comm.canonical import Node, Part, Plan
from distgrad.comm.fingerprint import encode
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Steps
from distgrad.comm.node import Call, Meeting
from distgrad.comm.transport import Transport
from distgrad.comm.work import Work
from distgrad.tracing import tracer

_UNTIMED = 8  # looks at the board, of about 0.3 µs each
_NO_TIME = 3e-6  # seconds, the same in one compiled call
_NO_TIME_AT_ONCE = 5e-6  # and with what is done to start it
_COMPLETE = 3  # how far a meeting comes (node.Meeting)


class KnownSum:
    """One sum over all ranks, checked and described: of which parts, in which order, called what.

    ``slices`` as in ``Communicator.start_sum``.
    """

    def __init__(
        self,
        transport: Transport,
        algorithm: Algorithm,
        plan: Plan,
        what: str,
        timeout: float,
        *,
        out: Array,
        slices: Sequence[slice] | None = None,
    ) -> None:
        self.transport, self.what, self.timeout = transport, what, timeout
        self.nodes: list[Node] = [*plan.nodes[transport.rank]]
        """What this rank has to bring."""
        self._algorithm, self._plan, self._slices = algorithm, plan, slices
        self.progress = transport.state.progress(transport.context)
        self._alone = transport.size == 1 and len(self.nodes) == 1
        node = transport.node
        self.board = node.board if node.topology.one_node and algorithm.quick else None
        self._shared = node.find(out)
        self.calls: Sequence[Call] | None = None
        """What is done when all have come, to arrays that the ranks share."""
        self.meeting: Meeting | None = None
        self._small = False
        encoded = encode(what)
        self.digest, self.text = int.from_bytes(encoded[:8], "little", signed=True), encoded[8:]
        if self.board is None:
            return
        if self._shared is not None and hierarchical.fits(self._shared, plan):
            rank = transport.rank
            self.calls = hierarchical.calls_in_one_node(self._shared, rank, plan, slices)
            if node.compiler is not None:
                self.meeting = node.compiler(self.board, self.calls)
        elif self._shared is None and slices is None:
            self._small = board_sum.fits(out.nbytes, plan)

    def start(self, own: Sequence[Array], out: Array) -> Started:
        """Sum this rank's parts ``own``, flat and in the order of ``nodes``, into ``out``."""
        transport, board = self.transport, self.board
        if self._alone:
            if own[0] is not out:
                out[...] = own[0]
            return NOTHING
        if board is not None and fork.generation == transport.state.generation:
            number = self.progress.started
            if board.is_free(number):
                if self.calls is not None and self._shared is not None:
                    hierarchical.put_in_place(own, self._shared)
                    return QuickSum(self, board, self.calls)
                if self._small:
                    rows = board_sum.write(board, number, own, out, self._plan)
                    return QuickSum(self, board, [(board_sum.add_rows, rows, out, self._plan)], out)
        group = Group(transport)
        return self._work(group, self._steps(group, own, out))

    def at_once(self, own: Sequence[Array], out: Array) -> Started:
        """Start it where the next thing is to wait for it: wait, a little while, here."""
        shared = self._shared
        if self.meeting is not None and shared is not None:
            if own[-1] is not shared.own or len(own) != 1:
                hierarchical.put_in_place(own, shared)
            found = _meet_at_once(self, self.meeting)
            if found is not None:
                return found
        return self.start(own, out)

    def go_on(self, number: int, calls: Sequence[Call], small: bool, summed: bool) -> Work:
        """Return a Work for what is left of a sum in which this rank has said that it is."""
        group = Group(self.transport, number)
        if summed:
            return self._work(group, hierarchical.finish_in_place(group))
        return self._work(group, hierarchical.in_one_node(group, calls, last=small))

    def _steps(self, group: Group, own: Sequence[Array], out: Array) -> Steps:
        parts: list[Part] = [(*node, part) for node, part in zip(self.nodes, own, strict=True)]
        chosen, slices = self._algorithm, self._slices
        if chosen.sum_parts is None:
            add_up(own, out)  # it knows ranks, not summands
            if slices is None or chosen.reduce_scatter is None:
                return chosen.steps(group, out)  # of one that sums all, all
            return chosen.reduce_scatter(group, out, slices)
        if slices is None or chosen.reduce_parts is None:
            return chosen.sum_parts(group, parts, out, self._plan)
        return chosen.reduce_parts(group, parts, out, self._plan, slices)

    def _work(self, group: Group, steps: Steps) -> Work:
        everyone = not self._algorithm.left_only
        return Work(group, self.what, steps, everyone=everyone, timeout=self.timeout)


class KnownBarrier:
    """A barrier over all ranks: what each wrote before it, those of its node may read after it."""

    def __init__(self, transport: Transport, timeout: float, name: str = "") -> None:
        self.transport, self.timeout = transport, timeout
        self.what = f"barrier {name!r}" if name else "barrier"
        encoded = encode(self.what)
        self.digest, self.text = int.from_bytes(encoded[:8], "little", signed=True), encoded[8:]
        node = transport.node
        self.board = node.board if node.topology.one_node else None
        self.calls = None
        self.progress = transport.state.progress(transport.context)
        self.meeting: Meeting | None = None
        if node.compiler is not None and self.board is not None:
            self.meeting = node.compiler(self.board, None)

    def start(self, *, look: bool = True) -> Started:
        """Say that this rank is there; complete once all are. ``look`` now whether they are."""
        transport, board = self.transport, self.board
        if transport.size == 1:
            return NOTHING
        if board is not None and fork.generation == transport.state.generation:
            number = self.progress.started
            if board.is_free(number):
                return QuickSum(self, board, (), _NO_ARRAY, look=look)
        return self._work(Group(transport))

    def at_once(self) -> Started:
        """Start it where the next thing is to wait for it: wait, a little while, here."""
        found = None if self.meeting is None else _meet_at_once(self, self.meeting)
        return self.start() if found is None else found

    def go_on(self, number: int, calls: Sequence[Call], small: bool, summed: bool) -> Work:
        """Return a Work for what is left of a barrier in which this rank has said that it is."""
        del calls, small, summed
        return self._work(Group(self.transport, number))

    def _work(self, group: Group) -> Work:
        # The check of the fingerprints with everyone is a barrier; there is nothing to add.
        return Work(group, self.what, _nothing(), everyone=True, timeout=self.timeout)


def _meet_at_once(known: KnownSum | KnownBarrier, meeting: Meeting) -> Started | None:
    """Start a collective and look for the others in one; None if it cannot be started so.

    Nothing else goes on meanwhile, so that nobody need be told that it is under way.
    """
    transport, board, progress = known.transport, known.board, known.progress
    state, number = transport.state, progress.started
    if board is None or fork.generation != state.generation:
        return None
    if number >= board.ready and not board.is_free(number):
        return None
    begun = perf_counter()
    progress.started = number + 1
    if (listener := tracer.get()) is not None:
        listener.started(transport.context, number, known.what)
    stage = meeting.at_once(number, known.digest, known.text, board.close_looks)
    sums = known.calls
    if stage != _COMPLETE:
        small = _NO_ARRAY if sums is None else None
        return QuickSum(known, board, sums or (), small, met=(number, stage, begun))
    ended = perf_counter()
    state.last_quick = transport.members, (ended, number, known.what)
    took = ended - begun
    if listener is not None:
        listener.completed(transport.context, number)
    if took > _NO_TIME_AT_ONCE:
        state.times.held_up(known.what, begun, begun + meeting.arrived() * took)
    if sums is not None:
        state.times.was_under_way(took)
    return NOTHING


class QuickSum:
    """A known sum under way on the board of a node; what holds it takes it for a Work.

    Of nothing, it is a barrier.
    """

    __slots__ = (
        "_arrived",
        "_board",
        "_calls",
        "_error",
        "_known",
        "_meeting",
        "_out",
        "_progress",
        "_rest",
        "_since",
        "_state",
        "_summed",
        "_waits",
        "done",
        "number",
        "what",
    )

    def __init__(
        self,
        known: KnownSum | KnownBarrier,
        board: Board,
        calls: Sequence[Call],
        small: Array | None = None,
        *,
        look: bool = True,
        met: tuple[int, int, float] | None = None,
    ) -> None:
        """``small`` is the total of parts that were written beside the notices.

        ``look``: see at once whether the others are there. ``met``: the collective was started
        already, and waited for in vain: its number, how far it came, and since when.
        """
        self._known, self._board, self._calls, self._out = known, board, calls, small
        self._meeting = known.meeting
        self._state = state = known.transport.state
        self._progress = progress = known.progress
        self.number, self.what = progress.started, known.what
        self._rest: Work | None = None
        self._error: BaseException | None = None
        self._summed = self.done = self._waits = False
        self._arrived = self._since = 0.0  # when all had come, and since when that was waited for
        if met is not None:
            self.number, stage, self._since = met
            self._summed, look = stage == 2, False
        else:
            progress.started += 1
            board.post(self.number, known.digest, known.text)
        progress.unfinished.add(self.number)
        state.works.append(self)
        if small is None:
            state.times.one_more()
        if (listener := tracer.get()) is not None:
            listener.started(known.transport.context, self.number, known.what)
        if look:
            self.poll()

    def poll(self) -> bool:
        """Advance as far as possible without waiting; True once the collective is complete.

        Raises CommError (or a subclass) if the collective failed.
        """
        if self.done:
            return True
        if self._rest is not None:
            self.done = self._rest.poll()
            return self.done
        if self._meeting is not None:
            return self._meet(self._meeting, 1)
        return self._go_step_by_step()

    def _go_step_by_step(self) -> bool:
        board, number = self._board, self.number
        if not self._summed:
            if not board.have_arrived(number):
                return False
            if not board.agree(number, self._known.digest):
                return self._go_on().poll()
            if self._waits:
                self._arrived = perf_counter()
            for function, *arguments in self._calls:
                function(*arguments)
            self._summed = True
            if self._out is None:
                board.reach(number, 1)
        if self._out is None and not board.have_reached(number, 1):
            return False
        self._complete()
        return True

    def _meet(self, meeting: Meeting, looks: int) -> bool:
        """Do the same in a compiled call that looks so often."""
        stage = meeting(self.number, self._known.digest, looks, self._summed)
        if stage == 3:
            self._complete()
            return True
        if stage == 1:
            return self._go_on().poll()
        self._summed = stage == 2
        return False

    def _complete(self) -> None:
        self._board.finish(self.number)
        self._progress.unfinished.discard(self.number)
        state = self._state
        state.last_quick = self._known.transport.members, (perf_counter(), self.number, self.what)
        self._leave()
        self.done = True
        if (listener := tracer.get()) is not None:
            listener.completed(self._known.transport.context, self.number)

    def wait(self) -> None:
        """Return when the collective is complete; raises as ``Work.wait``."""
        if self.done:
            return
        if self._meeting is not None and self._rest is None:
            begun = self._since or perf_counter()
            if not self._look(self._meeting, begun):
                self._go_on().wait_on(begun, self._arrived if self._summed else None)
                self.done = True
            return
        # The clock costs as much as some looks: what a small sum waits in these few is not counted.
        for _ in range(0 if self._out is None else min(_UNTIMED, self._board.spins)):
            if self.poll():
                return
        begun, self._waits = perf_counter(), True
        for _ in range(self._board.spins):
            if self.poll():
                self._state.times.held_up(self.what, begun, self._arrived)
                return
        self._go_on().wait_on(begun, self._arrived if self._summed else None)
        self.done = True

    def soon(self) -> bool:
        """Wait the little while in which the others come as a rule; True if it is complete then."""
        if self.done or self._meeting is None or self._rest is not None:
            return self.poll()
        return self._look(self._meeting, perf_counter())

    def _look(self, meeting: Meeting, begun: float) -> bool:
        summed = self._summed
        complete = self._meet(meeting, self._board.close_looks)
        took = perf_counter() - begun
        if took > _NO_TIME:
            if not summed and (complete or self._summed):
                self._arrived = begun + meeting.arrived() * took
            if complete:
                self._state.times.held_up(self.what, begun, self._arrived)
        return complete

    def _leave(self) -> None:
        """Be in flight no longer."""
        self._state.works.remove(self)
        if self._out is None:
            self._state.times.one_less()

    def _go_on(self) -> Work:
        if self._error is not None:
            raise self._error
        if self._rest is None:
            self._leave()
            small = self._out is not None
            try:
                self._rest = self._known.go_on(self.number, self._calls, small, self._summed)
            except BaseException as error:
                self._error = error  # as a Work, which raises it again
                raise
        return self._rest


def add_up(arrays: Sequence[Array], out: Array) -> None:
    """Sum a rank's arrays, which are overwritten, into ``out``, which may be one of them."""
    if not arrays:
        out[:] = 0
        return
    total = arrays[0]
    for array in arrays[1:]:
        np.add(total, array, out=total)
    if not np.may_share_memory(total, out):
        out[:] = total


class Nothing:
    """The sum of a world of one rank: complete when it begins."""

    done = True

    def poll(self) -> bool:
        """Say that it is complete."""
        return True

    soon = poll

    def wait(self) -> None:
        """Return at once."""


def _nothing() -> Steps:
    yield from ()


NOTHING = Nothing()
_NO_ARRAY: Array = np.zeros(0)
Started: TypeAlias = Work | QuickSum | Nothing
"""A collective that has been started: ``poll()`` and ``wait()``."""
