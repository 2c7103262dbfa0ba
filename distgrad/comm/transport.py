"""What a world must offer, and what one rank knows about the others in it.

A transport moves bytes between ranks. It knows nothing of collectives, sums or gradients.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from distgrad.comm.work import Work

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# Lane tags stay below the smallest MPI_TAG_UB the standard allows (32767), which is kept for
# the notices by which ranks tell each other that they leave or have failed.
LANES = 32767
NOTICE_TAG = 32767


class Request(Protocol):
    """One message in flight."""

    peer: int
    sending: bool

    def test(self) -> bool:
        """Make progress; True once the message is complete, and from then on."""


# An algorithm yields the requests it waits for and is resumed when all are complete.
Steps: TypeAlias = Generator[Sequence[Request], None, None]


class Transport(Protocol):
    """A group of ranks that can send each other arrays."""

    name: str
    rank: int
    size: int
    host: str
    context: str
    members: tuple[int, ...]
    journal: Journal
    timed: bool

    def isend(self, buffer: Array, dest: int, tag: int) -> Request:
        """Start sending a C-contiguous array; it must not change until the request completes."""

    def irecv(self, buffer: Array, source: int, tag: int) -> Request:
        """Start receiving into a C-contiguous array of exactly the size that is sent."""

    def split(self, color: int, key: int) -> Transport:
        """Return a separate group of the ranks that gave the same color, ordered by key."""

    def relax(self, idle: float) -> None:
        """Give way: nothing has arrived here for ``idle`` seconds.

        Raises DeadlockError or PeerFailedError where the world knows that nothing ever will.
        """

    def announce(self, notice: Notice) -> None:
        """Tell every other rank of the world that this rank leaves or has failed."""

    def abort(self, code: int) -> NoReturn:
        """End all ranks of the world at once with this status."""


@dataclass
class Notice:
    """What a rank tells all others: that it leaves, or that one of its collectives failed.

    ``lines`` maps a context to (collectives started, those of them that are unfinished).
    """

    rank: int
    kind: str  # "goodbye", or the name of the exception that ended a collective
    lines: dict[str, tuple[int, list[int]]]
    text: str = ""

    def missing(self, context: str, number: int) -> bool:
        """Whether collective ``number`` of ``context`` can no longer count on this rank."""
        started, unfinished = self.lines.get(context, (0, []))
        return number >= started or number in unfinished


@dataclass
class Line:
    """How far this rank has come in one context."""

    started: int = 0
    unfinished: set[int] = field(default_factory=set)
    bytes_sent: int = 0  # payload of the completed collectives


@dataclass
class Journal:
    """What one rank of a world knows, shared by all transports split from it."""

    rank: int
    size: int
    lines: dict[str, Line] = field(default_factory=dict)
    works: list[Work] = field(default_factory=list)
    departed: dict[int, Notice] = field(default_factory=dict)
    failures: list[Notice] = field(default_factory=list)
    spare: list[Array] = field(default_factory=list)
    hearsay: Exception | None = None  # raised here because of what another rank did
    turns: int = 0  # messages completed so far: the sign of life the watchdog looks at
    # Failed works stay here: a message may still arrive in their buffers.
    wrecks: list[Work] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The tag that starts every wire error: ``[rank 2/4]``."""
        return f"[rank {self.rank}/{self.size}]"

    def line(self, context: str) -> Line:
        """Return this rank's position in ``context``."""
        return self.lines.setdefault(context, Line())

    def goodbye(self) -> Notice:
        """Return the notice that says how far this rank came before it left."""
        lines = {
            context: (line.started, sorted(line.unfinished)) for context, line in self.lines.items()
        }
        return Notice(self.rank, "goodbye", lines)

    def hear(self, notice: Notice) -> None:
        """Note what another rank announced."""
        if notice.kind == "goodbye":
            self.departed[notice.rank] = notice
        else:
            self.failures.append(notice)

    def take_scratch(self, nbytes: int) -> Array:
        """Return at least ``nbytes`` of memory, a used piece where one fits."""
        # A fresh array costs page faults worth more than the sum that is done in it.
        fitting = [i for i, spare in enumerate(self.spare) if spare.nbytes >= nbytes]
        if fitting:
            return self.spare.pop(min(fitting, key=lambda i: self.spare[i].nbytes))
        if self.spare:
            self.spare.pop(0)  # too small by now: replaced, so that the pool does not grow
        return np.empty(nbytes, np.uint8)
