"""What a world must offer: it moves bytes between ranks.

A transport knows nothing of collectives, sums or gradients.
"""

from __future__ import annotations

from typing import NoReturn, Protocol

from distgrad.comm.message import Array, Request
from distgrad.comm.node import Node
from distgrad.comm.rank_state import Notice, RankState

# Lane tags stay below the smallest MPI_TAG_UB the standard allows (32767), which is kept for
# the notices by which ranks tell each other that they leave or have failed. Collectives take the
# lower half, messages between two ranks the upper one.
LANES = 16384
TAGS = 32767 - LANES
NOTICE_TAG = 32767


class Transport(Protocol):
    """A group of ranks that can send each other arrays."""

    name: str
    rank: int
    size: int
    host: str
    place: str
    """Names the memory this rank can share, equal where it is the same; "" if it can share none."""
    context: str
    members: tuple[int, ...]
    state: RankState
    timed: bool
    spins: bool
    """Whether a rank that waits may keep its core for microseconds: the others have their own."""
    node: Node

    def isend(self, buffer: Array, dest: int, tag: int) -> Request:
        """Start sending a C-contiguous array; it must not change until the request completes."""

    def irecv(self, buffer: Array, source: int, tag: int) -> Request:
        """Start receiving into a C-contiguous array of exactly the size that is sent."""

    def create_memory(self, name: str, nbytes: int) -> memoryview:
        """Make zeroed memory that ranks of the same place can attach. Raises OSError."""

    def attach_memory(self, name: str, nbytes: int) -> memoryview:
        """Return the memory that another rank has created. Raises OSError."""

    def unlink_memory(self, name: str) -> None:
        """Let no more ranks attach it; those that have keep it."""

    def signal(self) -> None:
        """Say that shared memory has changed, for which others may wait."""

    def split(self, color: int, key: int) -> Transport:
        """Return a separate group of the ranks that gave the same color, ordered by key."""

    def back_off(self, idle: float) -> None:
        """Give way: nothing has arrived here for ``idle`` seconds.

        Raises DeadlockError or PeerFailedError where the world knows that nothing ever will.
        """

    def announce(self, notice: Notice, to: int | None = None) -> None:
        """Tell every other rank of the world, or rank ``to`` of it alone."""

    def abort(self, code: int) -> NoReturn:
        """End all ranks of the world at once with this status."""
