"""How real jobs end, started with mpirun: soon, non-zero, with the culprit's traceback once."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import needs_open_mpi

JOB = Path(__file__).parent / "jobs" / "end.py"
ROOT = Path(__file__).parents[2]
SECONDS = 10.0  # the promise is 5; a loaded machine gets twice that


def find_mpirun():
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.exists() else shutil.which("mpirun")


@pytest.fixture(scope="module")
def mpirun():
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: no job can be started")
    found = find_mpirun()
    if found is None:
        pytest.skip("no mpirun beside this python or on PATH: no job can be started")

    def start(size, *arguments):
        environ = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        }
        command = [found, "-n", str(size), sys.executable, str(JOB), *map(str, arguments)]
        started = time.monotonic()
        # A job that hangs is killed with mpirun, which takes its ranks along.
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        return done, time.monotonic() - started

    return start


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("how", ["plain", "thread", "inside", "computing"])
def test_an_exception_on_one_rank_ends_the_job_with_its_traceback_once(mpirun, how, size):
    culprit = size - 1
    done, seconds = mpirun(size, how, culprit)
    assert done.returncode != 0
    assert seconds < SECONDS
    tag = f"[rank {culprit}/{size}]"
    assert done.stderr.count(f"ValueError: deliberate failure of rank {culprit}") == 1
    assert done.stderr.count("Traceback (most recent call last)") == 1
    # prterun ends its own banner with a NUL and a space.
    lines = [line.lstrip("\0 ") for line in done.stderr.splitlines()]
    told = [line for line in lines if "broken()" in line or "Traceback" in line]
    assert all(line.startswith(tag) for line in told), done.stderr
    assert "is through" not in done.stdout


@pytest.mark.parametrize("how", ["exit", "return"])
def test_a_rank_that_leaves_early_is_named_by_those_that_wait(mpirun, how):
    done, seconds = mpirun(3, how, 1)
    assert done.returncode != 0
    assert seconds < SECONDS
    assert "PeerFailedError" in done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == 1  # not one for each rank
    assert "(all_reduce 'step 0' float64 x 1000) cannot complete: rank 1 has left" in done.stderr


def test_a_killed_rank_ends_the_job(mpirun):
    done, seconds = mpirun(3, "killed", 1)
    assert done.returncode != 0
    assert seconds < SECONDS
    assert "is through" not in done.stdout


def test_ctrl_c_on_a_rank_ends_the_job(mpirun):
    done, seconds = mpirun(3, "interrupt", 1)
    assert done.returncode != 0
    assert seconds < SECONDS
    assert "[rank 1/3] KeyboardInterrupt" in done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_a_rank_that_waits_ends_the_job(mpirun, name):
    done, seconds = mpirun(3, name, 2)
    assert done.returncode != 0
    assert seconds < SECONDS
    if name == "SIGTERM":
        needs_open_mpi()
    assert "rank 2" in done.stderr


def test_ctrl_c_on_a_rank_that_is_through_ends_the_job(mpirun):
    done, seconds = mpirun(3, "interrupt at the end", 1)
    assert done.returncode != 0
    assert seconds < SECONDS
    assert "[rank 1/3] KeyboardInterrupt" in done.stderr


@pytest.mark.parametrize("size", [1, 3])
def test_a_job_without_failure_ends_with_status_zero_and_says_nothing(mpirun, size):
    done, _ = mpirun(size, "none", 0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is through") == size
    assert done.stderr == ""


def test_a_rank_that_is_through_early_is_no_failure(mpirun):
    done, _ = mpirun(3, "late", 0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is through") == 3
