"""Worker processes that read samples ahead of the loop, in the loop's order.

They are started as programs of their own, never forked: a fork of a process that MPI, BLAS and
other threads live in may hang or corrupt memory. Each ends when its pipe closes, which the kernel
does however the rank ends.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import spawn
from typing import Any, Protocol, TypeVar

from threadpoolctl import threadpool_info

from distgrad.autograd import stream
from distgrad.data import pipes
from distgrad.errors import DataError
from distgrad.parallel import world

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from distgrad.data.worker import main; main(*map(int, sys.argv[2:]))"
)
_KILLED = (
    ": by somebody, or by the system because memory ran out; ask for fewer num_workers, a smaller "
    "prefetch_factor or smaller samples"
)
_PATIENCE = 1.0  # seconds a worker gets to end by itself
_CURE = (
    "what is sent to workers is defined at the top of a module (no lambda, nothing inside a "
    "function) and the script's start stands under `if __name__ == '__main__':`; or leave "
    "num_workers=0"
)


class Prefetched(Protocol):
    """A batch of which shards can be read ahead."""

    def order_from(self, workers: Workers) -> int:
        """Let ``workers`` read this rank's shards; return how many they are."""

    def forget(self) -> None:
        """Drop what was read and will not be asked for any more."""


class Reader(Protocol):
    """What reads samples in a worker; a job knows its ``seed``, ``source`` and ``place``."""

    @property
    def dataset(self) -> Any:
        """What it reads."""

    def work(self, job: Any) -> tuple[int, Any]:
        """Return the random draws it took, and what was read."""


B = TypeVar("B", bound=Prefetched)


@dataclass
class _Inbox:
    """What the workers of one loader have said; its threads and the loop share it."""

    heard: threading.Condition = field(default_factory=threading.Condition)
    answers: dict[int, Any] = field(default_factory=dict)
    wanted: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)  # numbers of workers that have ended
    memory: dict[int, int] = field(default_factory=dict)  # files, and who has yet to open them

    def opened(self, descriptor: int) -> None:
        """Close a data set's memory when all workers share it."""
        left = self.memory.pop(descriptor, 0) - 1  # none of a loader that was closed meanwhile
        if left > 0:
            self.memory[descriptor] = left
        elif left == 0:
            os.close(descriptor)


class Workers:
    """``count`` processes; tickets go round among them, and answers are taken by ticket."""

    def __init__(self, count: int, *, prefetch: int, timeout: float) -> None:
        if world.in_worker:
            raise DataError(
                "a worker process runs the script again, up to a DataLoader with workers of its "
                "own: keep the script's start under `if __name__ == '__main__':`"
            )
        self.count, self.prefetch, self.timeout = count, prefetch, timeout
        self._inbox = _Inbox()
        self._tickets = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pipes: list[int] = []
        arguments = (self._inbox, self._pipes, self._processes, os.getpid())
        self.close = weakref.finalize(self, _close, *arguments)
        for number in range(count):
            self._start(number)

    def _start(self, number: int) -> None:
        (theirs, ours), (back, answers) = os.pipe(), os.pipe()
        path = [os.path.abspath(p) for p in sys.path]
        command = [sys.executable, "-c", _START, json.dumps(path), str(theirs), str(answers)]
        # A session of its own: Ctrl-C is the rank's business.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=(theirs, answers), start_new_session=True
        )
        os.close(theirs)
        os.close(answers)
        self._processes.append(process)
        self._pipes.append(ours)
        reader = threading.Thread(target=_collect, args=(self._inbox, number, back), daemon=True)
        reader.start()

    @property
    def has_ended(self) -> bool:
        """Whether a worker is gone, so that these are of no use any more."""
        with self._inbox.heard:
            return bool(self._inbox.gone)

    def begin(self, reader: Reader, initialise: Callable[[int], object] | None) -> None:
        """Give each worker a copy of the data set as it is now. Errors: DataError."""
        try:
            parts = pipes.pickled((reader, initialise))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise DataError(
                f"the data set cannot be sent to worker processes: {error}; {_CURE}"
            ) from error
        descriptor, places = pipes.in_shared_memory(parts)
        with self._inbox.heard:
            self._inbox.memory[descriptor] = self.count
        preparation = spawn.get_preparation_data("DataLoader worker")
        preparation.pop("authkey", None)  # multiprocessing's own, which is not to be sent about
        for number in range(self.count):
            settings = {
                "file": f"/proc/{os.getpid()}/fd/{descriptor}",
                "places": places,
                "preparation": preparation,
                "threads": _blas_threads(),
                "num_workers": self.count,
                "id": number,
                "seed": stream.seed.get(),
            }
            self._send(number, ("recipe", descriptor, settings))

    def _send(self, number: int, message: Any) -> None:
        with contextlib.suppress(pipes.Closed):  # it has ended: who waits for its answer is told
            pipes.send(self._pipes[number], pipes.pickled(message))

    def order(self, job: Any) -> int:
        """Let a worker do a job; return the ticket for it."""
        ticket = self._tickets
        self._tickets += 1
        with self._inbox.heard:
            self._inbox.wanted.add(ticket)
        self._send(ticket % self.count, ("read", ticket, job))
        return ticket

    def take(self, ticket: int) -> tuple[int, Any]:
        """Return what ``order`` ordered: the random draws it took, and the samples.

        Errors: what reading raised in the worker, with its traceback as cause; DataError for a
        worker that has ended, or is silent for ``timeout`` seconds (0: for ever).
        """
        inbox, number = self._inbox, ticket % self.count
        until = time.monotonic() + (self.timeout or math.inf)
        with inbox.heard:
            while ticket not in inbox.answers:
                if number in inbox.gone:
                    raise self._ended(number)
                left = until - time.monotonic()
                if left <= 0:
                    raise DataError(
                        f"worker {number} of the DataLoader (process "
                        f"{self._processes[number].pid}) has read nothing for "
                        f"timeout={self.timeout} s"
                    )
                inbox.heard.wait(min(left, 1.0))
            inbox.wanted.discard(ticket)
            kind, parts = inbox.answers.pop(ticket)
        content = pipes.unpickled(parts)
        if kind == "error":
            raise _raised(number, *content)
        calls, value = content
        return int(calls), value

    def drop(self, tickets: Sequence[int]) -> None:
        """Forget what was ordered and will not be taken."""
        with self._inbox.heard:
            for ticket in tickets:
                self._inbox.wanted.discard(ticket)
                self._inbox.answers.pop(ticket, None)

    def ahead(self, batches: Iterator[B]) -> Iterator[B]:
        """Yield ``batches`` while the workers read those that follow."""
        waiting: deque[tuple[B, int]] = deque()
        ordered, wanted = 0, self.count * self.prefetch
        try:
            for batch in batches:
                waiting.append((batch, batch.order_from(self)))
                ordered += waiting[-1][1]
                while ordered - waiting[0][1] >= wanted:  # beside those of the one that is due
                    yield waiting[0][0]
                    done, shards = waiting.popleft()
                    done.forget()
                    ordered -= shards
            while waiting:
                yield waiting[0][0]
                waiting.popleft()[0].forget()
        finally:
            for batch, _ in waiting:
                batch.forget()

    def _ended(self, number: int) -> DataError:
        status = self._processes[number].wait()
        if status < 0:
            return DataError(
                f"worker {number} of the DataLoader was ended by signal {-status} before it had "
                f"read its samples{_KILLED if -status == signal.SIGKILL else ''}"
            )
        return DataError(
            f"worker {number} of the DataLoader has ended with status {status} before it had read "
            f"its samples; what it said stands above. {_CURE[0].upper()}{_CURE[1:]}"
        )


class _InWorker(Exception):  # noqa: N818 - a cause, not an error of its own
    """The traceback in a worker process, as the cause of what the loop raises."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _raised(number: int, data: bytes, text: str) -> BaseException:
    error: BaseException
    if data:
        error = pickle.loads(data)
    else:
        last = text.strip().splitlines()[-1]
        error = DataError(f"worker {number} of the DataLoader could not read its samples: {last}")
    error.__cause__ = _InWorker(f"in worker {number} of the DataLoader:\n{text}")
    return error


def _collect(inbox: _Inbox, number: int, back: int) -> None:
    """Take a worker's answers, which would else block it, until it ends."""
    try:
        while True:
            head, *content = pipes.receive(back)
            ticket, kind = json.loads(bytes(head))
            with inbox.heard:
                if kind == "ready":
                    inbox.opened(ticket)
                elif ticket in inbox.wanted:
                    inbox.answers[ticket] = kind, content
                inbox.heard.notify_all()
    except pipes.Closed:
        with inbox.heard:
            inbox.gone.add(number)
            inbox.heard.notify_all()
    finally:
        os.close(back)


def _close(
    inbox: _Inbox, ours: list[int], processes: list[subprocess.Popen[bytes]], owner: int
) -> None:
    with inbox.heard:
        for descriptor in (*ours, *inbox.memory):
            os.close(descriptor)
        inbox.memory.clear()
    if os.getpid() != owner:
        return  # a forked child: they are its parent's
    until = time.monotonic() + _PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _blas_threads() -> int:
    return max((i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"), default=0)
