"""The MPI world: the only file that imports mpi4py.

Only buffers cross the wire, never pickles. It knows nothing of collectives but MPI's own.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import sys
import threading
import time
from collections import deque
from dataclasses import asdict
from functools import lru_cache
from typing import NoReturn

import mpi4py

from distgrad.comm import guard, shared_memory, stacks
from distgrad.comm.listener import Listener
from distgrad.comm.message import Array
from distgrad.comm.node import Node
from distgrad.comm.rank_state import Notice, RankState
from distgrad.comm.transport import NOTICE_TAG

# MPI_Init of the wrong MPI ends the process: connect() first looks which one this is.
mpi4py.rc.initialize = False
from mpi4py import MPI  # noqa: E402 - after the line above

_SPIN = 20e-6  # seconds a wait keeps the core to itself: longer than a message in shared memory
_LISTEN = 0.05  # seconds between two looks for notices of other ranks
_LOOKS = 4  # in vain, after which there is no notice


class MpiRequest:
    """A message of MPI; ``test`` is MPI's own, so that polling costs no Python frame."""

    __slots__ = ("peer", "sending", "test")

    def __init__(self, request: MPI.Request, peer: int, sending: bool) -> None:
        self.test = request.Test
        self.peer = peer
        self.sending = sending


class _Notices:
    """Carries the notices of one rank: who has left, which collective failed."""

    def __init__(self, comm: MPI.Comm, state: RankState) -> None:
        self.comm = comm
        self.state = state
        self._outgoing: list[tuple[MPI.Request, bytes]] = []
        self._listened = 0.0
        self._lock = threading.RLock()  # the rank and its listener take turns

    def announce(self, notice: Notice, to: int | None = None) -> None:
        data = json.dumps(asdict(notice)).encode()
        ranks = range(self.comm.size) if to is None else (to,)
        with self._lock:
            for rank in ranks:
                if rank != self.comm.rank:
                    request = self.comm.Isend((data, len(data), MPI.BYTE), rank, NOTICE_TAG)
                    self._outgoing.append((request, data))

    def listen(self, now: float, pause: float = _LISTEN) -> None:
        if now - self._listened < pause or not self._lock.acquire(blocking=False):
            return
        try:
            self._listened = now
            self._take_in()
        finally:
            self._lock.release()

    def _take_in(self) -> None:
        status = MPI.Status()
        # A rank that waits for shared memory, or computes, calls MPI nowhere else, and one call
        # takes a message in, a later one finds it.
        vain = 0
        while vain < _LOOKS:
            message = self.comm.Improbe(MPI.ANY_SOURCE, NOTICE_TAG, status)
            if message is None:
                vain += 1
                continue
            vain = 0
            data = bytearray(status.Get_count(MPI.BYTE))
            message.Recv((data, len(data), MPI.BYTE))
            self.state.hear(Notice(**json.loads(data)))
        for asker, answer in stacks.answers(self.state):
            self.announce(answer, to=asker)
        self._outgoing = [(r, data) for r, data in self._outgoing if not r.Test()]


class MpiTransport:
    """A group of MPI processes with a communicator of its own."""

    name = "mpi"
    timed = True

    def __init__(self, comm: MPI.Comm, context: str, notices: _Notices, crowded: bool) -> None:
        self._comm = comm
        self._notices = notices
        self.spins = not crowded
        self._splits = 0
        self.context = context
        self.state = notices.state
        self.rank: int = comm.rank
        self.size: int = comm.size
        self.host = MPI.Get_processor_name()
        self.place = shared_memory.place()
        self.node = Node(self.size)
        world, group = notices.comm.Get_group(), comm.Get_group()
        self.members = tuple(group.Translate_ranks(list(range(self.size)), world))
        self.native_queue: deque[object] = deque()
        self.library = library()

    def isend(self, buffer: Array, dest: int, tag: int) -> MpiRequest:
        """Start MPI_Isend of the array's bytes."""
        request = self._comm.Isend((buffer, buffer.nbytes, MPI.BYTE), dest, tag)
        return MpiRequest(request, dest, True)

    def irecv(self, buffer: Array, source: int, tag: int) -> MpiRequest:
        """Start MPI_Irecv into the array's bytes."""
        request = self._comm.Irecv((buffer, buffer.nbytes, MPI.BYTE), source, tag)
        return MpiRequest(request, source, False)

    def native_all_reduce(self, buffer: Array) -> MpiRequest:
        """Start MPI_Iallreduce, a sum in place."""
        return MpiRequest(self._comm.Iallreduce(MPI.IN_PLACE, buffer), self.rank, True)

    def blocking_all_reduce(self, buffer: Array) -> None:
        """Call MPI_Allreduce, a sum in place: the oracle's time. No watchdog reaches into it."""
        self._comm.Allreduce(MPI.IN_PLACE, buffer)

    def create_memory(self, name: str, nbytes: int) -> memoryview:
        """Make a file in /dev/shm of zeros. Raises OSError."""
        return shared_memory.create(name, nbytes)

    def attach_memory(self, name: str, nbytes: int) -> memoryview:
        """Map the file another rank has made. Raises OSError."""
        return shared_memory.attach(name, nbytes)

    def unlink_memory(self, name: str) -> None:
        """Take the file's name away."""
        shared_memory.unlink(name)

    def signal(self) -> None:
        """Do nothing: who waits looks again by itself."""

    def split(self, color: int, key: int) -> MpiTransport:
        """Return the group of the ranks with the same color, ordered by key (MPI_Comm_split)."""
        self._splits += 1
        comm = self._comm.Split(color, key)
        context = f"{self.context}.{self._splits}:{color}"
        return MpiTransport(comm, context, self._notices, not self.spins)

    def back_off(self, idle: float) -> None:
        """Give way: spin for microseconds, then yield the core, then sleep in short naps."""
        if idle < _SPIN and self.spins:
            return
        # With more ranks than cores a peer can only answer once it gets this core, so it goes at
        # once. With a core each, a nap would only delay the answer.
        if idle < (2e-2 if self.spins else 1e-3):
            os.sched_yield()
            return
        time.sleep(min(max(idle / 20, 2e-5), 1e-3))
        self._notices.listen(time.monotonic())

    def announce(self, notice: Notice, to: int | None = None) -> None:
        """Tell every other process of the world, or one."""
        self._notices.announce(notice, to)

    def abort(self, code: int) -> NoReturn:
        """End the job with MPI_Abort, whatever the other threads and ranks do."""
        sys.stdout.flush()
        sys.stderr.flush()
        MPI.COMM_WORLD.Abort(code)
        os._exit(code)  # MPI_Abort does not return; if it does, leave all the same


@lru_cache(maxsize=1)
def world() -> MpiTransport:
    """Return the world of all MPI processes; the first call guards how this rank ends."""
    comm = MPI.COMM_WORLD.Dup()
    # MPICH's own segment has a name until MPI_Finalize: a job that is killed or aborted would leave
    # it behind. All ranks of the node have it open, for none returns from MPI_Init before.
    shared_memory.unlink_mapped("mpich_shm_")
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    crowded = node.size > (os.cpu_count() or 1)
    node.Free()
    notices = _Notices(comm, RankState(comm.rank, comm.size))
    transport = MpiTransport(comm, "world", notices, crowded)
    if comm.size > 1 and MPI.Query_thread() == MPI.THREAD_MULTIPLE:
        listener = Listener(notices.listen)
        listener.start()
        atexit.register(listener.stop)  # before the guard's, which thus comes first
    guard.install(transport)
    return transport


def is_up() -> bool:
    """Whether this rank is in the world already."""
    return world.cache_info().currsize > 0


def world_size() -> int:
    """Start MPI if nobody has, and return how many processes it says there are."""
    if not MPI.Is_initialized():
        _initialize()
    return int(MPI.COMM_WORLD.size)


def _initialize() -> None:
    """Call MPI_Init_thread, which waits for all ranks, without keeping other threads from running.

    MPI.Init_thread keeps the GIL, so nobody could say for whom it waits.
    """
    library = ctypes.CDLL(MPI.__file__)  # finds MPI in what the extension is linked with
    provided = ctypes.c_int()
    # MULTIPLE: any thread may have to end the job.
    failed = library.MPI_Init_thread(None, None, MPI.THREAD_MULTIPLE, ctypes.byref(provided))
    if failed:
        raise MPI.Exception(failed)
    for comm in (MPI.COMM_SELF, MPI.COMM_WORLD):
        comm.Set_errhandler(MPI.ERRORS_RETURN)  # as mpi4py does, so that errors are exceptions
    atexit.register(_finalize)
    # A child that left through MPI_Finalize would wait there for the other ranks' children.
    os.register_at_fork(after_in_child=lambda: atexit.unregister(_finalize))


def _finalize() -> None:
    # A rank that falls before all are in the world must not wait here for the others.
    if is_up() and not MPI.Is_finalized():
        MPI.Finalize()


def library() -> str:
    """Return the name and version of the MPI library mpi4py was loaded with."""
    first = MPI.Get_library_version().rstrip("\0").splitlines()[0].split(", ")[0]
    return " ".join(first.split())
