"""A world of one rank: messages can only go to itself.

It imports no MPI and starts no thread.
"""

from __future__ import annotations

import socket
import sys
from collections import deque
from typing import NoReturn

import numpy as np

from distgrad.comm.message import Array
from distgrad.comm.node import Node
from distgrad.comm.rank_state import Notice, RankState
from distgrad.errors import CommError, DeadlockError

Key = tuple[str, int, int, int]  # context, source, dest, tag


class Message:
    """A send or a receive between ranks of one process, complete once it has been matched."""

    __slots__ = ("buffer", "done", "peer", "sending")

    def __init__(self, buffer: Array, peer: int, sending: bool) -> None:
        self.buffer = buffer
        self.peer = peer
        self.sending = sending
        self.done = False

    def test(self) -> bool:
        """Whether the message has been delivered."""
        return self.done


class Mailbox:
    """Matches sends with receives in the order they were posted, per source, dest and tag.

    A send completes only when it is received: code that counts on buffering shows itself, and
    so does code that changes a buffer it has not finished sending.
    """

    def __init__(self) -> None:
        self._open: dict[Key, deque[Message]] = {}

    def post(self, key: Key, message: Message) -> tuple[Message, Message] | None:
        """Add a message; return (send, receive) if it found its counterpart."""
        queue = self._open.setdefault(key, deque())
        if not queue or queue[0].sending == message.sending:
            queue.append(message)
            return None
        other = queue.popleft()
        if not queue:
            del self._open[key]
        return (message, other) if message.sending else (other, message)


def deliver(send: Message, receive: Message) -> None:
    """Copy a matched message and complete both ends; CommError if the lengths differ."""
    source, target = send.buffer, receive.buffer
    if source.nbytes != target.nbytes:
        raise CommError(
            f"rank {receive.peer} sent {source.nbytes} bytes where rank {send.peer} expects "
            f"{target.nbytes}; both ends of a message must agree on its length"
        )
    if target.size:
        target.reshape(-1).view(np.uint8)[:] = source.reshape(-1).view(np.uint8)
    send.done = receive.done = True


class LocalTransport:
    """The only rank of its world."""

    name = "local"
    timed = False
    spins = False
    rank = 0
    size = 1
    members: tuple[int, ...] = (0,)

    def __init__(self, context: str = "world", state: RankState | None = None) -> None:
        self.context = context
        self.state = state or RankState(0, 1)
        self.host = socket.gethostname()
        self.place = ""
        self.node = Node(self.size)
        self._mailbox = Mailbox()
        self._splits = 0

    def isend(self, buffer: Array, dest: int, tag: int) -> Message:
        """Start sending to rank 0, the only one there is."""
        return self._post(Message(buffer, dest, sending=True), tag)

    def irecv(self, buffer: Array, source: int, tag: int) -> Message:
        """Start receiving from rank 0, the only one there is."""
        return self._post(Message(buffer, source, sending=False), tag)

    def _post(self, message: Message, tag: int) -> Message:
        matched = self._mailbox.post((self.context, 0, message.peer, tag), message)
        if matched:
            deliver(*matched)
        return message

    def create_memory(self, name: str, nbytes: int) -> memoryview:
        """Raise OSError: there is nobody to share with."""
        raise OSError("a world of one rank shares no memory")

    def attach_memory(self, name: str, nbytes: int) -> memoryview:
        """Raise OSError: there is nobody to share with."""
        raise OSError("a world of one rank shares no memory")

    def unlink_memory(self, name: str) -> None:
        """Do nothing: there is none."""

    def signal(self) -> None:
        """Tell nobody: there is no other rank."""

    def split(self, color: int, key: int) -> LocalTransport:
        """Return a separate world of one."""
        self._splits += 1
        return LocalTransport(f"{self.context}.{self._splits}:{color}", self.state)

    def back_off(self, idle: float) -> None:
        """Raise DeadlockError: whatever this rank waits for, nobody else is there to send it."""
        raise DeadlockError(
            f"{self.state.label} waits for a message, but it is the only rank; nobody will send "
            "it. Start more ranks with mpirun -n, or post the matching send first"
        )

    def announce(self, notice: Notice, to: int | None = None) -> None:
        """Tell nobody: there is no other rank."""

    def abort(self, code: int) -> NoReturn:
        """Leave the process with this status."""
        sys.exit(code)
