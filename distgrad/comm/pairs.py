"""Messages from one rank to another, in which the other ranks have no part."""

from __future__ import annotations

import copy
from collections import deque

from distgrad.comm.algorithms import exchange
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Steps
from distgrad.comm.node import Node
from distgrad.comm.transport import LANES, Transport
from distgrad.comm.verbs import ResultWork, Verbs
from distgrad.comm.work import Work


class _Pair:
    """The messages of one tag from one rank to another: in the order of their calls."""

    def __init__(self, transport: Transport, source: int, dest: int, tag: int) -> None:
        # The same ranks and messages, counted by themselves: a rank that has left is waited for
        # no longer than for what it has sent. Ranks outside the pair have no number in it.
        self.transport = copy.copy(transport)
        self.transport.context = f"{transport.context} {source}>{dest} tag {tag}"
        self.transport.members = tuple(
            member if rank in (source, dest) else -1
            for rank, member in enumerate(transport.members)
        )
        self.transport.node = Node(transport.size)
        self.tag, self.turns = tag, deque[object]()

    @property
    def bytes_sent(self) -> int:
        return self.transport.state.progress(self.transport.context).bytes_sent

    def group(self) -> Group:
        group = Group(self.transport)
        group.lane = LANES + self.tag
        return group


class _Turn:
    """A receive waits until those before it know how long their messages are."""

    sending = False

    def __init__(self, turns: deque[object], peer: int) -> None:
        self.peer, self._turns = peer, turns
        turns.append(self)

    def test(self) -> bool:
        """Whether it is this one's turn."""
        return self._turns[0] is self


class Pairs(Verbs):
    """Send and receive. Messages of one tag between two ranks arrive in the order of the calls."""

    _pairs: dict[tuple[int, int, int], _Pair]

    def send(self, array: Array, dest: int, *, tag: int = 0) -> None:
        """Send an array to rank ``dest``, which calls ``recv``; return when it may be changed."""
        self.start_send(array, dest, tag=tag).wait()

    def start_send(self, array: Array, dest: int, *, tag: int = 0) -> Work:
        """Start a send; the array must not be touched until the work is done."""
        sent = self._check.sent("send", array, "")
        dest, tag = self._check.rank("send to", dest), self._check.tag(tag)
        exchange.head_of(sent)  # what cannot be sent is refused before anything is
        pair = self._pair(self.rank, dest, tag)
        group = pair.group()
        what = f"send to rank {dest} with tag {tag}"
        return Work(group, what, _send(group, sent, dest), everyone=None, timeout=self.timeout)

    def recv(self, array: Array | None, source: int, *, tag: int = 0) -> Array:
        """Return what rank ``source`` sends, in ``array`` or, if that is None, a new one.

        Raises MismatchError if ``array`` has another shape or dtype.
        """
        work = self.start_recv(array, source, tag=tag)
        work.wait()
        return work.result

    def start_recv(self, array: Array | None, source: int, *, tag: int = 0) -> ResultWork[Array]:
        """Start a recv; the array must not be touched until the work is done."""
        if array is not None:
            self._check.flat("recv", array, "")
        source, tag = self._check.rank("receive from", source), self._check.tag(tag)
        pair = self._pair(source, self.rank, tag)
        group = pair.group()
        what = f"recv from rank {source} with tag {tag}"
        found: list[Array] = []
        steps = _receive(group, pair, source, array, f"{self._check.label} {what}", found)
        return ResultWork(group, what, steps, lambda: found[0], everyone=None, timeout=self.timeout)

    def _pair(self, source: int, dest: int, tag: int) -> _Pair:
        key = (source, dest, tag)
        pair = self._pairs.get(key)
        if pair is None:
            pair = self._pairs[key] = _Pair(self.transport, source, dest, tag)
        return pair


def _send(group: Group, array: Array, dest: int) -> Steps:
    yield exchange.send(group, array, dest)


def _receive(
    group: Group, pair: _Pair, source: int, into: Array | None, what: str, found: list[Array]
) -> Steps:
    yield (_Turn(pair.turns, source),)
    steps = exchange.receive(group, source, into, what, found)
    yield next(steps)
    rest = next(steps)  # its messages are asked for: those of the next receive come after them
    pair.turns.popleft()
    yield rest
    yield from steps
