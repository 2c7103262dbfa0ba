"""Every way a rank can fall, at every moment of a job: does the job end, and name the rank?

python tests/kill_matrix.py                     all cells, half an hour
python tests/kill_matrix.py STOP/* */compile/*  cells HOW/MOMENT/RANK/SIZE that match a pattern

A cell is "ok" if the job ends within TIMEOUT + 15 s of the fall, with a status that is not zero,
the fallen rank named on stderr, no other one blamed, and no process left. Of one that ends without
a word only the launcher can tell: Open MPI's does, MPICH's says no rank. Whoever falls while it
compiles holds the lock of the kernel cache, for which the others wait another minute. A job of
which mpirun itself crashed is started again: Open MPI 5.0.11's ends 1 in 20 of the exceptions
before MPI is up with an assertion of its own and SIGABRT (at once, with nothing left behind).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent / "support"
sys.path[:0] = [str(SUPPORT), str(SUPPORT.parents[1])]

from jobs import ROOT, mpirun  # noqa: E402 - after the line above

JOB = SUPPORT / "falling_job.py"
HOWS = ("exception", "TERM", "INT", "KILL", "STOP", "sys.exit(0)", "os._exit")
MOMENTS = (
    "before init",  # dg.init has not been called yet
    "MPI_Init",  # inside dg.init, while the other ranks have not come yet
    "agreement",  # inside dg.init, with MPI up
    "compile",  # of a kernel, with the lock of the cache held
    "forward",
    "backward",
    "optimizer",
    "evaluation",
    "saving",
)
SIZES = (2, 3)
TIMEOUT = 10.0  # what the job gives to dg.init; the suite's few cells give it less
GRACE = 15.0  # seconds after it in which the job must have ended
LOCK = 60.0  # seconds that a rank waits for one that holds the lock of the kernel cache
START = 60.0  # seconds until the rank has fallen, on a loaded machine
_MARK = "DISTGRAD_KILL_CELL"


@dataclass(frozen=True)
class Cell:
    """One job: how which of its ranks falls, and when."""

    how: str
    moment: str
    rank: int
    size: int

    @property
    def is_silent(self) -> bool:
        """Whether only the launcher can tell which rank it was."""
        return self.how in ("TERM", "KILL", "os._exit") or self.moment == "MPI_Init"

    @property
    def name(self) -> str:
        return f"{self.how}/{self.moment}/{self.rank}/{self.size}"


@dataclass(frozen=True)
class Outcome:
    """How the job ended, ``seconds`` after the fall."""

    verdict: str
    seconds: float
    status: int | None
    stderr: str


def cells(patterns: Sequence[str] = ()) -> list[Cell]:
    """Return the cells whose name matches a pattern; without patterns all."""
    every = [
        Cell(how, moment, rank, size)
        for size in SIZES
        for moment in MOMENTS
        for how in HOWS
        for rank in (0, size - 1)
    ]
    return [c for c in every if not patterns or any(fnmatch(c.name, p) for p in patterns)]


def run(cell: Cell, kernels: Path | None = None, timeout: float = TIMEOUT) -> Outcome:
    """Run one cell; ``kernels`` is a folder of compiled kernels to start with."""
    for _ in range(3):
        outcome = _run(cell, kernels, timeout)
        if not _mpirun_crashed(outcome):
            break
    return outcome


def _mpirun_crashed(outcome: Outcome) -> bool:
    aborted = outcome.status in {-signal.SIGABRT, 128 + signal.SIGABRT}
    return aborted and re.search(r"^prterun: .*Assertion", outcome.stderr, re.MULTILINE) is not None


def _run(cell: Cell, kernels: Path | None, timeout: float) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        mark, fell = uuid.uuid4().hex, Path(folder, "fell")
        cache = Path(folder, "kernels")
        if kernels is not None:
            shutil.copytree(kernels, cache)
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "DISTGRAD_CACHE": str(cache),
            "TMPDIR": folder,
            _MARK: mark,
        }
        script = [str(JOB), cell.how, cell.moment, str(cell.rank), folder, f"{timeout:g}"]
        command = [*mpirun(cell.size), sys.executable, *script]
        with Path(folder, "stdout").open("w") as out, Path(folder, "stderr").open("w") as err:
            job = subprocess.Popen(command, env=environment, stdout=out, stderr=err)
            began = time.time()
            bound = timeout + GRACE + (LOCK if cell.moment == "compile" else 0)
            try:
                status = _wait(job, fell, began, bound)
                left = _settled(mark)
            finally:
                for process in _processes(mark):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                job.wait()
        seconds = time.time() - float(fell.read_text() or began) if fell.exists() else 0.0
        stderr = Path(folder, "stderr").read_text(errors="replace")
        verdict = _judge(cell, status, stderr) if fell.exists() else "did not fall"
        if verdict == "ok" and left:
            verdict = "processes left"
        return Outcome(verdict, seconds, status, stderr)


def _wait(job: subprocess.Popen[bytes], fell: Path, began: float, bound: float) -> int | None:
    """Return the job's status, None if it has not ended ``bound`` seconds after the fall."""
    deadline, known = began + START, False
    while time.time() < deadline:
        status = job.poll()
        if status is not None:
            return status
        if not known and fell.exists():
            known, deadline = True, time.time() + bound
        time.sleep(0.02)
    return None


def _settled(mark: str) -> bool:
    """Whether processes of the job are still there a second after mpirun has ended."""
    for _ in range(20):
        if not _processes(mark):
            return False
        time.sleep(0.05)
    return True


def _processes(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def _judge(cell: Cell, status: int | None, stderr: str) -> str:
    if status is None:
        return "hung"
    if status == 0:
        return "status 0"
    # Before dg.init an exception is Python's to tell, and the rank mpirun's.
    blamed = list(_blamed(stderr)) or [int(r) for r in re.findall(r"name: \[\S+@1,(\d+)\]", stderr)]
    if any(rank != cell.rank for rank in blamed):
        return "wrong rank named"
    return "ok" if blamed else "rank not named"


def _blamed(stderr: str) -> Iterator[int]:
    """Yield the ranks that the job's messages hold responsible."""
    for line in stderr.splitlines():
        label = re.search(r"\[rank (\d+)/\d+\] ", line)
        text = re.sub(r"\[rank \d+/\d+\] |rank \d+ reports: ", "", line)
        if ended := re.search(
            r"process rank (\d+) with PID (?!.* calling$)", text
        ):  # mpirun's own words
            yield int(ended[1])
        elif label and re.search(r"\b(DeliberateError|KeyboardInterrupt)\b", text):
            yield int(label[1])
        elif label and re.search(r"Error: .*rank \d", text):
            yield int(re.findall(r"rank (\d+)", text)[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="HOW/MOMENT/RANK/SIZE")
    parser.add_argument("--jobs", type=int, default=1, help="jobs at a time")
    parser.add_argument("--show", action="store_true", help="print the stderr of what is not ok")
    options = parser.parse_args()
    chosen = cells(options.patterns)
    good, count, began = 0, 0, time.time()
    with tempfile.TemporaryDirectory(prefix="kernels-") as folder:
        warm = Path(folder)
        run(Cell("none", "none", 0, 2), warm)  # not judged
        with ThreadPoolExecutor(options.jobs) as pool:
            for cell, outcome in zip(chosen, pool.map(lambda c: run(c, warm), chosen), strict=True):
                count += 1
                good += outcome.verdict == "ok"
                print(
                    f"{cell.how:12} {cell.moment:12} rank {cell.rank} of {cell.size}  "
                    f"{outcome.seconds:5.1f} s  status {outcome.status!s:>5}  {outcome.verdict}",
                    flush=True,
                )
                if options.show and outcome.verdict != "ok":
                    print(outcome.stderr, flush=True)
    print(f"{good} of {count} ok in {time.time() - began:.0f} s")
    sys.exit(good != count)


if __name__ == "__main__":
    main()
