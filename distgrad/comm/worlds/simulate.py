"""N ranks as threads of one process that take turns, so that ``breakpoint()`` works.

One rank runs at a time and gives way only when it waits. A deadlock is seen at once, because
every rank waits and nothing is under way. It knows nothing of collectives.
"""

from __future__ import annotations

import mmap
import random
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from distgrad import perrank
from distgrad.comm import guard
from distgrad.comm.message import Array
from distgrad.comm.node import Node
from distgrad.comm.rank_state import Notice, RankState
from distgrad.comm.worlds.local import Mailbox, Message, deliver
from distgrad.errors import DeadlockError, LaunchError, PeerFailedError
from distgrad.perrank import PerRank

T = TypeVar("T")

_GRACE = 2.0  # seconds a rank may still compute after another has failed

_current: PerRank[SimulatedTransport | None] = PerRank(None)

_hearers: list[Callable[[], bool]] = []


@contextmanager
def hears_interrupts(take: Callable[[], bool]) -> Iterator[None]:
    """Have ``run_ranks`` call ``take`` at a Ctrl-C, which reaches none but the main thread.

    The ranks go on if any of those that are called returns True.
    """
    _hearers.append(take)
    try:
        yield
    finally:
        _hearers.remove(take)


def current() -> SimulatedTransport | None:
    """Return the world of the simulated rank this thread is, None if it is none."""
    return _current.get()


def run_ranks(
    size: int,
    function: Callable[[], T],
    *,
    schedule: int | None = None,
    report: bool = False,
    nodes: Sequence[int] | None = None,
) -> list[T]:
    """Run ``function`` on ``size`` simulated ranks and return their results in rank order.

    ``schedule`` seeds the order in which ranks run and messages arrive; None takes turns. The
    first exception of a rank, or of a thread it started, ends all ranks and is raised here; with
    ``report`` its traceback is printed tagged ``[rank 1/4]`` and SystemExit(1) is raised instead.
    ``nodes`` are the numbers of ranks that share a node's memory, in rank order (``[2, 1]``): one
    node if it is left out. Errors: LaunchError for a size below 1, or nodes of another size.
    """
    if size < 1:
        raise LaunchError(f"a world needs at least one rank, got {size}; use -n 1 or more")
    nodes = [size] if nodes is None else nodes
    if sum(nodes) != size or min(nodes) < 1:
        raise LaunchError(f"nodes={[*nodes]}: at least one rank each, and {size} ranks in all")
    world = _World(size, schedule, nodes)
    results: list[Any] = [None] * size

    def body(rank: int) -> None:
        results[rank] = function()

    threads = [
        threading.Thread(target=world.live_as, args=(r, body), name=f"rank {r}", daemon=True)
        for r in range(size)
    ]
    with _watched_helpers():
        for thread in threads:
            thread.start()
        world.begin()
        while not world.ended.is_set():
            try:
                world.ended.wait()
            except KeyboardInterrupt as error:
                taken = [take() for take in [*_hearers]]  # every rank hears it
                if not any(taken):
                    world.fail(None, error)
        for thread in threads:
            thread.join(_GRACE if world.failure else None)
    if world.failure:
        _raise(world, report)
    return results


def _raise(world: _World, report: bool) -> NoReturn:
    assert world.failure is not None
    rank, error = world.failure
    if report and rank is not None and not isinstance(error, SystemExit):
        guard.report(error, world.states[rank].label)
        raise SystemExit(1)
    raise error


class _Stopped(BaseException):
    """Unwinds a rank because another one has failed; no user code should see it as its own."""


class _World:
    """The state all simulated ranks share; only the rank that has the baton touches it."""

    def __init__(self, size: int, seed: int | None, nodes: Sequence[int]) -> None:
        self.states = [RankState(rank, size) for rank in range(size)]
        self.failure: tuple[int | None, BaseException] | None = None
        self.ended = threading.Event()
        self.splits: dict[str, dict[int, tuple[int, int]]] = {}
        self.places = [f"node {i}" for i, n in enumerate(nodes) for _ in range(n)]
        self.memories: dict[str, memoryview] = {}
        self._random = None if seed is None else random.Random(seed)
        self._mailbox = Mailbox()
        self._flying: list[tuple[Message, Message]] = []
        self._events = 0  # whatever may let a waiting rank go on is an event
        self._idle_since = [-1] * size  # the event after which a rank had nothing to do
        self._live = set(range(size))
        self._gates = [threading.Semaphore(0) for _ in range(size)]
        self._idents: dict[int, int] = {}

    def live_as(self, rank: int, body: Callable[[int], None]) -> None:
        """Be rank ``rank``: a thread's whole life."""
        self._idents[rank] = threading.get_ident()
        transport = SimulatedTransport(self, "world", tuple(range(len(self.states))), rank)
        perrank.become({})
        _current.set(transport)
        try:
            self._gates[rank].acquire()
            self.check()
            body(rank)
            self.states[rank].finish()
        except _Stopped:
            pass
        except SystemExit as error:
            if error.code not in (None, 0):
                self.fail(rank, error)
        except BaseException as error:
            self.fail(rank, error)
        self._leave(rank)

    def _leave(self, rank: int) -> None:
        self._live.discard(rank)
        if not self._live:
            self.ended.set()
        if self.failure or not self._live:
            return
        self.announce(self.states[rank].goodbye())
        self.pass_baton(self._choose(rank))

    def announce(self, notice: Notice, to: int | None = None) -> None:
        """Tell all other ranks, or one."""
        self._events += 1
        for rank, state in enumerate(self.states):
            if rank != notice.rank and to in (None, rank):
                state.hear(notice)

    def fail(self, rank: int | None, error: BaseException) -> None:
        """End all ranks because of this error, unless an earlier one already did."""
        if self.failure is None:
            self.failure = (rank, error)
        for gate in self._gates:
            gate.release()
        self.ended.set()

    def check(self) -> None:
        """Unwind the calling rank if the world has failed."""
        if self.failure:
            raise _Stopped

    def post(self, context: str, source: int, dest: int, tag: int, message: Message) -> Message:
        """Add a send or a receive and deliver it if its counterpart is there."""
        self.check()
        matched = self._mailbox.post((context, source, dest, tag), message)
        if matched:
            self._events += 1
            if self._random is None:
                deliver(*matched)
            else:
                self._flying.append(matched)
        return message

    def begin(self) -> None:
        """Let the first rank run."""
        self.pass_baton(self._choose(len(self.states) - 1))

    def pass_baton(self, rank: int | None) -> None:
        """Let a rank run."""
        if rank is not None:
            self._gates[rank].release()

    def back_off(self, rank: int) -> None:
        """Let another rank run until this one may go on; raise if none ever can."""
        self.check()
        self._idle_since[rank] = self._events
        chosen = self._choose(rank)
        if chosen is None:
            raise self._nobody_can_go_on(rank)
        if chosen != rank:
            self.pass_baton(chosen)
            self._gates[rank].acquire()
            self.check()

    def event(self) -> None:
        """Note that something happened which a waiting rank may be waiting for."""
        self._events += 1

    def _choose(self, rank: int) -> int | None:
        """Return the rank to run next: one that has not looked since the last event."""
        if self._random is not None and self._flying:
            self._land([m for m in self._flying if self._random.random() < 0.5])
        size = len(self.states)
        while True:
            turns = [(rank + shift) % size for shift in range(1, size + 1)]
            able = [r for r in turns if r in self._live and self._idle_since[r] != self._events]
            if able:
                return able[0] if self._random is None else self._random.choice(able)
            if not self._flying:
                return None
            assert self._random is not None
            self._land([self._random.choice(self._flying)])

    def _land(self, messages: list[tuple[Message, Message]]) -> None:
        for matched in messages:
            self._flying.remove(matched)
            deliver(*matched)
            self._events += 1

    def _nobody_can_go_on(self, rank: int) -> DeadlockError | PeerFailedError:
        told = "\n".join(self._state(r) for r in range(len(self.states)))
        label, departed = self.states[rank].label, self.states[rank].departed
        if departed:
            ranks = ", ".join(map(str, sorted(departed)))
            return PeerFailedError(
                f"{label} waits for a message that will not come: rank {ranks} has left; every "
                f"rank must take part in the same communication\n{told}"
            )
        return DeadlockError(
            f"{label} deadlock: every rank waits for another; make them communicate in the same "
            f"order\n{told}"
        )

    def _state(self, rank: int) -> str:
        if rank not in self._live:
            return f"rank {rank} has finished"
        works = [f"collective {w.number} ({w.what})" for w in self.states[rank].works]
        frame = sys._current_frames().get(self._idents[rank])
        stack = traceback.extract_stack(frame) if frame else traceback.StackSummary()
        shown = [f for f in stack if f.filename not in (__file__, threading.__file__)]
        while shown and shown[0].filename.endswith(("threading.py", "runpy.py")):
            shown.pop(0)
        doing = ", ".join(works) or "a message"
        return f"rank {rank} waits in {doing}:\n{''.join(traceback.format_list(shown))}".rstrip()


class SimulatedTransport:
    """One rank of a simulated world, or of a group split from it."""

    name = "simulated"
    timed = False  # a deadlock is known, not guessed; and a debugger may take all the time it wants
    spins = False

    def __init__(self, world: _World, context: str, members: tuple[int, ...], rank: int) -> None:
        self._world = world
        self._splits = 0
        self.context = context
        self.members = members
        self.rank = rank
        self.size = len(members)
        self.state = world.states[members[rank]]
        self.host = socket.gethostname()
        self.place = world.places[members[rank]]
        self.node = Node(self.size)

    def create_memory(self, name: str, nbytes: int) -> memoryview:
        """Make zeroed memory of this process."""
        return self._world.memories.setdefault(name, memoryview(mmap.mmap(-1, nbytes)))

    def attach_memory(self, name: str, nbytes: int) -> memoryview:
        """Return the memory another rank has made."""
        return self._world.memories[name]

    def unlink_memory(self, name: str) -> None:
        """Forget its name."""
        del self._world.memories[name]

    def signal(self) -> None:
        """Let ranks that wait look again."""
        self._world.check()
        self._world.event()

    def isend(self, buffer: Array, dest: int, tag: int) -> Message:
        """Start sending; complete when the other rank has received it."""
        me, other = self.members[self.rank], self.members[dest]
        return self._world.post(self.context, me, other, tag, Message(buffer, dest, True))

    def irecv(self, buffer: Array, source: int, tag: int) -> Message:
        """Start receiving."""
        me, other = self.members[self.rank], self.members[source]
        return self._world.post(self.context, other, me, tag, Message(buffer, source, False))

    def split(self, color: int, key: int) -> SimulatedTransport:
        """Return the group of the ranks with the same color, ordered by key."""
        self._splits += 1
        context = f"{self.context}.{self._splits}"
        votes = self._world.splits.setdefault(context, {})
        votes[self.rank] = (color, key)
        self._world.event()
        while len(votes) < self.size:
            self.back_off(0.0)
        group = sorted((key, r) for r, (c, key) in votes.items() if c == color)
        members = tuple(self.members[r] for _, r in group)
        rank = [r for _, r in group].index(self.rank)
        return SimulatedTransport(self._world, f"{context}:{color}", members, rank)

    def back_off(self, idle: float) -> None:
        """Let other ranks run; DeadlockError or PeerFailedError if no rank can go on."""
        self._world.back_off(self.members[self.rank])

    def announce(self, notice: Notice, to: int | None = None) -> None:
        """Tell every other rank of the world, or one."""
        self._world.announce(notice, to)

    def abort(self, code: int) -> NoReturn:
        """End all ranks; run_ranks raises SystemExit with this status."""
        self._world.fail(self.members[self.rank], SystemExit(code))
        raise _Stopped


_plain_start, _plain_hook = threading.Thread.start, threading.excepthook
_helpers: WeakKeyDictionary[threading.Thread, SimulatedTransport] = WeakKeyDictionary()
_worlds = 0  # that run at this moment, in each other or side by side
_counting = threading.Lock()


@contextmanager
def _watched_helpers() -> Iterator[None]:
    """Make the threads a rank starts its own: its world is theirs, and their exceptions end it.

    A thread does not know who started it, so that is written down when it is started.
    """
    global _worlds, _plain_start, _plain_hook  # noqa: PLW0603 - threading has one of each
    with _counting:
        if not _worlds:
            _plain_start, _plain_hook = threading.Thread.start, threading.excepthook
            threading.Thread.start = _start  # type: ignore[method-assign, assignment]
            threading.excepthook = _end_world
        _worlds += 1
    try:
        yield
    finally:
        with _counting:
            _worlds -= 1
            if not _worlds:
                threading.Thread.start = _plain_start  # type: ignore[method-assign]
                threading.excepthook = _plain_hook


def _start(thread: threading.Thread) -> None:
    transport = _current.get()
    if transport is not None:
        _helpers[thread] = transport
        mine, run = perrank.values(), thread.run

        def run_as_rank() -> None:
            perrank.become(mine)
            run()

        thread.run = run_as_rank  # type: ignore[method-assign]
    _plain_start(thread)


def _end_world(args: threading.ExceptHookArgs) -> None:
    transport = _helpers.get(args.thread) if args.thread else None
    if transport is None or args.exc_value is None or args.exc_type is SystemExit:
        _plain_hook(args)
    elif transport._world.ended.is_set() and not transport._world.failure:
        _plain_hook(args)  # the thread has outlived its world: nobody would hear of it
    else:
        transport._world.fail(transport.state.rank, args.exc_value)
