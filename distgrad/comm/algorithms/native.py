"""MPI's own all-reduce, as oracle and baseline; its order of sums is the library's secret."""

from __future__ import annotations

from collections import deque
from typing import Protocol, cast

from distgrad.comm.group import Group
from distgrad.comm.message import Array, Request, Steps
from distgrad.comm.transport import Transport


class _MpiTransport(Protocol):
    native_queue: deque[Group]

    def native_all_reduce(self, buffer: Array) -> Request: ...


def missing(transport: Transport) -> str:
    """Say what it needs if this world is not MPI's."""
    if hasattr(transport, "native_all_reduce"):
        return ""
    return f"MPI, and this world is {transport.name} (mpirun starts MPI's)"


def all_reduce(group: Group, array: Array) -> Steps:
    """Sum a flat array over all ranks with MPI_Iallreduce, in place."""
    transport = cast(_MpiTransport, group.transport)
    transport.native_queue.append(group)  # now, in the order of the calls, not when first resumed
    return _steps(transport, group, array)


def _steps(transport: _MpiTransport, group: Group, array: Array) -> Steps:
    yield (_EarlierBegun(transport.native_queue, group),)
    request = transport.native_all_reduce(array)
    transport.native_queue.popleft()
    yield (request,)


class _EarlierBegun:
    """Complete when all earlier native collectives have begun.

    MPI matches them by the order of their calls, which must be the same on all ranks, and the
    checks of several collectives in flight may finish in any order.
    """

    sending = False

    def __init__(self, queue: deque[Group], group: Group) -> None:
        self.peer = group.rank
        self._queue = queue
        self._group = group

    def test(self) -> bool:
        return self._queue[0] is self._group
