"""Processes that take turns: each runs one side of a comparison, and is timed while all wait."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

WORKER = str(Path(__file__).resolve().parent / "workers" / "turn.py")
REPOSITORY = str(Path(__file__).resolve().parents[1])
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""What an environment may force on OpenBLAS: it would choose other kernels than by itself."""


class Side(NamedTuple):
    """What is compared: a form of a framework, run by a Python."""

    name: str
    framework: str
    form: str
    python: str
    environment: Mapping[str, str] = MappingProxyType({})


class Place(NamedTuple):
    """Where: one core, or (None) all; and the ranks that distgrad has there."""

    core: int | None
    threads: int
    ranks: int = 1


class WorkerError(Exception):
    """A worker ended; the message is the end of what it said."""


def environment(threads: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if k not in FORCED}
    path = os.pathsep.join([REPOSITORY, *filter(None, [clean.get("PYTHONPATH")])])
    fixed = {"PYTHONPATH": path, "DISTGRAD_TUNING": "off"} | dict.fromkeys(THREADS, str(threads))
    return clean | fixed | dict(extra or {})


class Worker:
    """One side of a row in a process of its own (or one a rank); ``ready`` is its first answer."""

    def __init__(
        self, side: Side, row: str, place: Place, extra: Mapping[str, str] | None = None
    ) -> None:
        self.side = side
        self.ready: dict[str, Any] = {}
        self._folder = tempfile.TemporaryDirectory()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by stop)
        ranks = place.ranks if side.framework == "distgrad" else 1
        self._requests = [_pipe(Path(self._folder.name, str(rank))) for rank in range(ranks)]
        threads = max(1, place.threads // ranks)
        extra = {**side.environment, **(extra or {})}
        command = [side.python]
        if ranks > 1:
            command += ["-m", "distgrad", "run", "-n", str(ranks), "--threads", str(threads)]
        command += [WORKER, side.framework, side.form, row, "--threads", str(threads)]
        command += ["--requests", self._folder.name]
        if place.core is not None:
            command += ["--core", str(place.core)]
        self._process = subprocess.Popen(
            command,
            env=environment(threads, extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def start(self) -> None:
        """Wait for the first step; errors: WorkerError."""
        self.ready = self._answer()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to ``request``; errors: WorkerError."""
        for pipe in self._requests:
            print(json.dumps(request), file=pipe, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        self._errors.seek(0)
        raise WorkerError("\n".join(self._errors.read().strip().splitlines()[-15:]))

    def stop(self) -> None:
        for pipe in self._requests:
            pipe.close()  # the end of its requests
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()


def _pipe(path: Path) -> Any:
    os.mkfifo(path)
    # For both directions: opening does not wait for the worker, and writing to one that has ended
    # is no error; that it has ended is seen where its answer is waited for.
    return os.fdopen(os.open(path, os.O_RDWR), "w")


def started(sides: Sequence[Side], row: str, place: Place) -> tuple[list[Worker], dict[str, str]]:
    """Start the sides of a row; return those that made their first steps, and why others did not.

    Errors: SystemExit if distgrad is among the others.
    """
    workers, failed = [], {}
    for worker in [Worker(side, row, place) for side in sides]:  # they are imported side by side
        try:
            worker.start()
        except WorkerError as error:
            failed[worker.side.name] = str(error)
            worker.stop()
        else:
            workers.append(worker)
    for name, why in failed.items():
        if name.startswith("distgrad"):
            for worker in workers:
                worker.stop()
            sys.exit(f"{name} failed in row '{row}':\n{why}")
    return workers, {name: (why.splitlines() or ["it ended"])[-1] for name, why in failed.items()}


def take_turns(workers: Sequence[Worker], rounds: int, seconds: float) -> list[list[float]]:
    """Return for each worker the milliseconds of a step in each round; A B C, A B C, …

    A turn has as many steps as take ``seconds``, at least two, and before them one that is not
    counted: it finds in the caches what the other workers have left there.
    """
    steps = []
    for worker in workers:  # what is asked for here is not counted: first steps are slower
        ms = worker.ask({"steps": 1})["ms"]
        if ms < seconds * 1e3:
            ms = min(ms, worker.ask({"steps": max(1, int(seconds * 500 / ms))})["ms"])
        steps.append(max(2, round(seconds * 1e3 / ms)))
    times: list[list[float]] = [[] for _ in workers]
    for _ in range(rounds):
        for worker, count, found in zip(workers, steps, times, strict=True):
            found.append(worker.ask({"steps": count})["ms"])
    return times


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the median over rounds of ours / theirs, and the quartiles."""
    found = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    if len(found) == 1:
        return dict.fromkeys(("median", "low", "high"), found[0])
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}


def fresh(side: Side, row: str, place: Place) -> dict[str, float]:
    """First steps (seconds) and peak memory (MiB) of a side in processes of their own.

    distgrad runs with an empty folder of compiled kernels, then with the one that this has filled.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o700)  # kernels are kept only where nobody else can write
        extra = {"DISTGRAD_CACHE": folder} if side.framework == "distgrad" else {}
        found = {}
        if extra:
            worker = Worker(side, row, place, extra)
            worker.start()
            found["first_fresh_s"] = worker.ready["first_s"]
            worker.stop()
        worker = Worker(side, row, place, extra)
        worker.start()
        worker.ask({"steps": 4})
        found |= {"first_s": worker.ready["first_s"], "start_s": worker.ready["start_s"]}
        found |= worker.ask({"peak": True})
        worker.stop()
    return found
