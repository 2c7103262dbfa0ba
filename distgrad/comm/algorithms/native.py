"""MPI's own all-reduce, as oracle and baseline; its order of sums is the library's secret."""

from __future__ import annotations

from collections import deque
from typing import Protocol, cast

from distgrad.comm.channel import Channel
from distgrad.comm.message import Array, Request, Steps
from distgrad.errors import CommError


class _Native(Protocol):
    native_queue: deque[Channel]

    def native_all_reduce(self, buffer: Array) -> Request: ...


def all_reduce(channel: Channel, array: Array) -> Steps:
    """Sum a flat array over all ranks with MPI_Iallreduce, in place.

    Raises CommError in a world that is not MPI's.
    """
    transport = channel.transport
    if not hasattr(transport, "native_all_reduce"):
        raise CommError(
            f"{transport.state.label} the algorithm 'native' is MPI's own and this world is "
            f"{transport.name}; use algorithm='ring' or 'tree', or start it with mpirun"
        )
    native = cast(_Native, transport)
    native.native_queue.append(channel)  # now, in the order of the calls, not when first resumed
    return _steps(native, channel, array)


def _steps(native: _Native, channel: Channel, array: Array) -> Steps:
    yield (_Turn(native.native_queue, channel),)
    request = native.native_all_reduce(array)
    native.native_queue.popleft()
    yield (request,)


class _Turn:
    """Complete when all earlier native collectives have begun.

    MPI matches them by the order of their calls, which must be the same on all ranks, and the
    checks of several collectives in flight may finish in any order.
    """

    sending = False

    def __init__(self, queue: deque[Channel], channel: Channel) -> None:
        self.peer = channel.rank
        self._queue = queue
        self._channel = channel

    def test(self) -> bool:
        return self._queue[0] is self._channel
