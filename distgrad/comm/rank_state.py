"""What one rank knows: how far it has come itself, and what the others have announced.

It sends nothing; transports carry its notices, and works read what came.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

import numpy as np

from distgrad.comm import fork
from distgrad.comm.message import Array
from distgrad.comm.times import Times
from distgrad.comm.tuning import DEFAULTS, Tuning

_LARGE = 1 << 16  # bytes of scratch memory that has pages of its own
_KEPT = 6 << 20  # bytes of scratch memory that wait for the next collective


class InFlight(Protocol):
    """A collective that has been started and is not complete (a ``work.Work``)."""

    number: int
    what: str

    def poll(self) -> bool:
        """Advance without waiting; True once it is complete."""


@dataclass
class Notice:
    """What a rank tells others: that it leaves, waits, or that one of its collectives failed.

    ``progress`` maps a context to (collectives started, those of them that are unfinished).
    """

    rank: int
    # "goodbye", "waiting", "where" (tell me your stack), "here" (this is it), or the name of the
    # exception that ended a collective.
    kind: str
    progress: dict[str, tuple[int, list[int]]]
    text: str = ""
    waits_for: list[int] = field(default_factory=list)
    asks: bool = False  # who waits as well is to say so; an answer asks nothing, or it never ends
    seen: dict[str, str] = field(default_factory=dict)  # rank: what its host says of its process

    def missing(self, context: str, number: int) -> bool:
        """Whether collective ``number`` of ``context`` can no longer count on this rank."""
        started, unfinished = self.progress.get(context, (0, []))
        return number >= started or number in unfinished


@dataclass
class Progress:
    """How far this rank has come in one context."""

    started: int = 0
    unfinished: set[int] = field(default_factory=set)
    bytes_sent: int = 0  # payload of the completed collectives


@dataclass
class RankState:
    """What one rank of a world knows, shared by all transports split from it."""

    rank: int
    size: int
    contexts: dict[str, Progress] = field(default_factory=dict)
    works: list[InFlight] = field(default_factory=list)
    # Failed works stay here: a message may still arrive in their buffers.
    failed_works: list[InFlight] = field(default_factory=list)
    departed: dict[int, Notice] = field(default_factory=dict)
    failures: list[Notice] = field(default_factory=list)
    waiting: dict[int, tuple[float, Notice]] = field(default_factory=dict)  # when heard, and what
    asked: bool = False  # another rank waits and wants to know who else does
    asked_at: dict[int, float] = field(default_factory=dict)  # when a rank last wanted that
    warn_after: float = 30.0  # seconds of waiting after which it is said for whom
    # Who wants to know where this rank is in its code, with the ranks that all wait for.
    wanted_by: dict[int, list[int]] = field(default_factory=dict)
    wanted_at: float = -math.inf  # when somebody last did: who asks, tells what all have answered
    stacks: dict[int, tuple[float, Notice]] = field(default_factory=dict)  # when told, and what
    # The collective in which another rank was last met: when, its number, what it is.
    last_seen: dict[int, tuple[float, int, str]] = field(default_factory=dict)
    # The last one that went the quick way, where all of its ranks were met: who, and the same.
    last_quick: tuple[tuple[int, ...], tuple[float, int, str]] = ((), (0.0, 0, ""))
    peer_error: Exception | None = None  # raised here because of what another rank did
    times: Times = field(default_factory=Times)
    completed: int = 0  # messages so far: the sign of life the watchdog looks at
    # Scratch memory not in use, the largest first.
    spare: list[Array] = field(default_factory=list)
    tuning: Tuning = DEFAULTS  # the same on every rank
    generation: int = field(default_factory=lambda: fork.generation)
    # What is done before this rank says goodbye: collectives that others count on are completed.
    before_leaving: list[Callable[[], None]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The tag that starts every wire error: ``[rank 2/4]``."""
        return f"[rank {self.rank}/{self.size}]"

    def progress(self, context: str) -> Progress:
        """Return this rank's position in ``context``."""
        found = self.contexts.get(context)
        if found is None:
            found = self.contexts[context] = Progress()
        return found

    def seen(self, rank: int) -> tuple[float, int, str] | None:
        """Return when, and in which collective, another rank was last met; None if never."""
        members, quick = self.last_quick
        met = self.last_seen.get(rank)
        if rank in members and (met is None or met < quick):
            return quick
        return met

    def finish(self) -> None:
        """Do what is to be done before this rank leaves."""
        while self.before_leaving:
            self.before_leaving.pop()()

    def goodbye(self) -> Notice:
        """Return the notice that says how far this rank came before it left."""
        progress = {
            context: (p.started, sorted(p.unfinished)) for context, p in self.contexts.items()
        }
        return Notice(self.rank, "goodbye", progress)

    def hear(self, notice: Notice) -> None:
        """Note what another rank announced."""
        if notice.kind == "goodbye":
            self.departed[notice.rank] = notice
        elif notice.kind == "waiting":
            self.waiting[notice.rank] = (now := perf_counter(), notice)
            if notice.asks:
                self.asked, self.asked_at[notice.rank] = True, now
        elif notice.kind == "where":
            self.wanted_by[notice.rank], self.wanted_at = notice.waits_for, perf_counter()
        elif notice.kind == "here":
            self.stacks[notice.rank] = (perf_counter(), notice)
        else:
            self.failures.append(notice)

    def take_scratch(self, nbytes: int) -> Array:
        """Return at least ``nbytes`` of memory, a used piece where one fits."""
        # A fresh array costs page faults worth more than the sum that is done in it.
        fitting = sum(spare.nbytes >= nbytes for spare in self.spare)  # they come first
        if fitting:
            return self.spare.pop(fitting - 1)
        if self.spare:
            self.spare.pop()  # the smallest gives way, so that the pool does not grow
        if nbytes < _LARGE:
            return np.empty(nbytes, np.uint8)
        # Not of the heap, where what is freed stays.
        return np.frombuffer(mmap.mmap(-1, nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)

    def keep_scratch(self, pieces: Sequence[Array]) -> None:
        """Take back scratch memory: some of it, the largest first, is kept for what comes next.

        One piece is, whatever its size: a collective after the other finds memory that is there.
        """
        left, kept = _KEPT, list[Array]()
        for piece in sorted([*self.spare, *pieces], key=lambda a: a.nbytes, reverse=True):
            left -= piece.nbytes
            if not kept or left >= 0:
                kept.append(piece)
        self.spare[:] = kept

    def drop_scratch(self) -> None:
        """Give the memory back to the system that no collective in flight uses."""
        self.spare.clear()
