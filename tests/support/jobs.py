"""Starting real jobs under the mpirun that belongs to this Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from distgrad.comm import launchers
from distgrad.errors import LaunchError

ROOT = Path(__file__).resolve().parents[2]
PYTHONPATH = os.pathsep.join(str(p) for p in (ROOT, ROOT / "tests/support", ROOT / "examples"))
LAUNCHER = ("OMPI_", "PMIX_", "PRTE_", "PMI_", "HYDRA_", "MPI_", "SLURM_")


@dataclass
class Finished:
    """What a job left."""

    status: int
    out: str
    err: str
    seconds: float
    ended: float = field(default_factory=time.time)
    """When, as ``time.time()`` gives it."""

    @property
    def seconds_after_fall(self) -> float:
        """How long the job went on after a rank had last said ``fell()``."""
        return self.ended - max(float(t) for t in re.findall(r"FELL (\S+)", self.out))


def fell() -> None:
    """Say in a job that it falls now, for ``seconds_after_fall``: start-up does not count."""
    print("FELL", time.time(), flush=True)


def run_job(ranks: int, script: Path, *args: str, timeout: float = 60.0) -> Finished:
    """Run a script on ``ranks`` ranks; ``ranks=0`` means in a plain process, without MPI."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    environment |= {"PYTHONPATH": PYTHONPATH, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = (
        [*mpirun(ranks), sys.executable, str(script), *args]
        if ranks
        else [
            sys.executable,
            str(script),
            *args,
        ]
    )
    start = time.perf_counter()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr, time.perf_counter() - start)


def mpirun(ranks: int) -> Sequence[str]:
    """Return the mpirun command up to the program; skips the test where there is no mpirun."""
    try:
        found = launchers.find_mpirun()
    except LaunchError as error:
        pytest.skip(str(error))
    return launchers.mpirun_command(found, launchers.is_open_mpi(found), ranks, 1, {})


def needs_open_mpi() -> None:
    """Skip the test under another mpirun: MPICH's does not say which rank was killed."""
    if not launchers.is_open_mpi(mpirun(2)[0]):
        pytest.skip("this mpirun is not Open MPI's, which alone says which rank was killed")
