"""Watches over the start of the job: who has not come, found without MPI, which waits for all.

MPI_Init returns when every rank has called it. Until then there is nobody to ask, so each rank
leaves a mark that vanishes with its process, and looks at this host's process table.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b

from distgrad.comm import guard
from distgrad.comm.neighbours import Identity, has_ended, identity, is_stopped, neighbours
from distgrad.errors import LaunchError

_TAKEN = "DISTGRAD_RANK_TAKEN"  # in the environment: which process is this rank
_LOOK = 0.25  # seconds between two looks at the other processes
_GONE = 2.0  # seconds that mpirun has to end the job of a rank that is gone: it knows why


@contextmanager
def watch(size: int | None, timeout: float, warn_after: float = 30.0) -> Iterator[None]:
    """Bound the block, in which this rank waits inside MPI for all others.

    After ``warn_after`` seconds the process says for whom it waits. After ``timeout`` seconds, and
    as soon as a rank is known to have ended, it says which one is missing and ends with status 1,
    which ends the job. Ctrl-C ends it at once. Raises LaunchError in a program that a rank has
    started.
    """
    me = identity()
    if me is None:  # a launcher that tells no rank: nobody to look for
        yield
        return
    _refuse_children(me)
    through = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(_mark(me))
        stack.enter_context(_interruptible())
        stack.callback(through.set)
        watcher = _Watcher(me, size, timeout, warn_after, through)
        threading.Thread(target=watcher.run, name="arrival", daemon=True).start()
        yield
    os.environ[_TAKEN] = f"{os.getpid()} {me.key()}"


def _refuse_children(me: Identity) -> None:
    """Raise LaunchError in a program that a rank has started, with the rank's environment."""
    process, _, key = os.environ.get(_TAKEN, "").partition(" ")
    if process in ("", str(os.getpid())):
        return
    if key == me.key() or (me.variable == "PMI_RANK" and _is_cut_off()):
        raise LaunchError(
            f"this process was started by rank {me.rank} (process {process}), which is in the "
            "world already; a child is no rank, so it may compute and load data, but not call "
            "dg.init (look for an import of the training script without `if __name__ == "
            "'__main__'`)"
        )


def _is_cut_off() -> bool:
    """Whether this process lacks the socket that MPICH's launcher has given to the rank alone."""
    number = os.environ.get("PMI_FD", "")
    try:
        return number.isdecimal() and not stat.S_ISSOCK(os.fstat(int(number)).st_mode)
    except OSError:
        return True


@contextmanager
def _mark(me: Identity) -> Iterator[None]:
    """Be known to have come, until the end of the block or of this process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
        with suppress(OSError):  # a second process of this rank: one mark is enough
            mark.bind(_address(me.job, me.rank))
        yield


def _address(job: tuple[str, ...], rank: int) -> str:
    # An abstract name, of at most 107 bytes: nothing in the file system, gone with its process.
    key = "/".join((str(os.getuid()), *job, str(rank)))
    return f"\0distgrad/{blake2b(key.encode(), digest_size=16).hexdigest()}"


def _has_come(me: Identity, rank: int) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(_address(me.job, rank)) == 0


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process: Python's handler would wait for MPI to return."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Watcher:
    """Looks at the other ranks of this host until all are through or the time is up."""

    def __init__(
        self,
        me: Identity,
        size: int | None,
        timeout: float,
        warn_after: float,
        through: threading.Event,
    ) -> None:
        self._me, self._timeout, self._through = me, timeout, through
        self._warn_after = warn_after
        self._label = f"[rank {me.rank}/{'?' if size is None else size}]"
        self._missing = set(range(size or 0)) - {me.rank}  # not seen on this host so far
        self._seen: dict[int, set[int]] = {}  # rank: its processes
        self._caller = threading.get_ident()

    def run(self) -> None:
        """Be the watching thread."""
        since, told, gone_since = time.monotonic(), False, 0.0
        self._look()
        while not self._through.wait(_LOOK):
            waited = time.monotonic() - since
            self._look()
            gone = self._gone()
            gone_since = (gone_since or waited) if gone else 0.0
            if gone and waited - gone_since > _GONE:
                self._end(f"MPI cannot come up: {_have_ended(gone)}")
            if waited > self._timeout:
                self._end(
                    f"MPI has not come up within {self._timeout:g} s: {self._who()}. If ranks may "
                    "come that late, allow it with dg.init(timeout=...)"
                )
            if waited > self._warn_after and not told:
                told = True
                guard.say(
                    f"has waited {waited:.0f} s for MPI to come up: {self._who()}", self._label
                )

    def _look(self) -> None:
        if self._missing or not self._seen:
            for other in neighbours(self._me):
                self._seen.setdefault(other.rank, set()).add(other.pid)
                self._missing.discard(other.rank)

    def _gone(self) -> list[int]:
        """Return the ranks whose processes were seen and have ended."""
        return sorted(rank for rank, pids in self._seen.items() if all(map(has_ended, pids)))

    def _who(self) -> str:
        """Say who is missing: first those who will not come by themselves."""
        if gone := self._gone():
            return _have_ended(gone)
        seen = sorted(self._seen.items())
        stopped = [(rank, pid) for rank, pids in seen for pid in sorted(pids) if is_stopped(pid)]
        if stopped:
            return "; ".join(
                f"rank {rank} is stopped (`kill -CONT {pid}` lets it go on)"
                for rank, pid in stopped
            )
        said = [
            f"rank {rank} (process {min(pids)}) has not called dg.init yet"
            for rank, pids in seen
            if not _has_come(self._me, rank)
        ]
        if self._missing:
            ranks = ", ".join(map(str, sorted(self._missing)))
            said.append(
                f"rank {ranks} is not among the processes of this host: it has ended, or runs on "
                "another host, where MPI may not reach it"
            )
        return "; ".join(said) or "all ranks have come, but MPI does not get them together"

    def _end(self, message: str) -> None:
        # All ranks find it out at the same time, and one is enough to say it.
        if self._through.wait(min(0.3 * self._me.rank, 2.0)):
            return
        frame = sys._current_frames().get(self._caller)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        guard.say(f"{stack}distgrad.errors.CommTimeoutError: {self._label} {message}", self._label)
        time.sleep(0.2)  # launchers kill faster than they forward output
        os._exit(1)


def _have_ended(ranks: list[int]) -> str:
    names = ", ".join(map(str, ranks))
    return f"rank {names} has ended before it was through with dg.init"
