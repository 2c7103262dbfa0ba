"""Real jobs under mpirun: killed and resumed, raising on one rank, told to stop."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from jobs import ROOT, Finished, run_job

JOB = Path(__file__).with_name("jobs") / "train_job.py"


def result(job: Finished) -> list[str]:
    lines = [line for line in job.out.splitlines() if line.startswith("RESULT")]
    assert job.status == 0, job.err
    assert len(lines) == 1, job.out
    return lines[0].split(maxsplit=3)[1:]


@cache
def undisturbed(name: str = "mlp") -> list[str]:
    """The result of one process that nothing happens to."""
    return result(run_job(0, JOB, "--model", name))


@pytest.mark.parametrize("name", ["mlp", "cnn", "gpt"])
def test_killed_and_resumed_on_another_number_of_ranks_it_ends_with_the_same_bits(
    name: str, tmp_path: Path
) -> None:
    folder = str(tmp_path / "run")
    common = ["--model", name, "--checkpoint", folder]
    first = run_job(2, JOB, *common, "--what", "kill", "--at", "13")
    assert first.status != 0
    second = run_job(3, JOB, *common, "--resume", "--what", "kill", "--at", "31", "--rank", "2")
    assert second.status != 0
    assert "resumed from step-" in second.out
    assert result(run_job(1, JOB, *common, "--resume")) == undisturbed(name)


@pytest.mark.parametrize("what", ["forward", "backward", "callback"])
def test_one_rank_raises_and_the_job_ends_with_its_traceback_once(what: str) -> None:
    job = run_job(3, JOB, "--what", what, "--at", "7", "--rank", "2")
    assert job.status != 0
    assert job.seconds_after_fall < 5
    assert job.err.count(f"RuntimeError: this happened in {what}") == 1
    assert f"[rank 2/3] RuntimeError: this happened in {what}" in job.err
    assert "[rank 2/3] Traceback" in job.err


@pytest.mark.parametrize("what", ["term", "usr1"])
def test_a_signal_on_one_rank_ends_all_after_a_checkpoint(what: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    job = run_job(3, JOB, "--checkpoint", folder, "--what", what, "--at", "7")
    steps, _, reason = result(job)
    assert reason == {"term": "SIGTERM", "usr1": "SIGUSR1"}[what]  # rank 1 got it, rank 0 reports
    assert int(steps) < 50
    assert (Path(folder) / f"step-{int(steps):06d}").is_dir()
    assert result(run_job(2, JOB, "--checkpoint", folder, "--resume")) == undisturbed()


def test_ctrl_c_that_reaches_one_rank_ends_all_after_a_checkpoint(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    job = run_job(3, JOB, "--checkpoint", folder, "--what", "int", "--at", "7", "--rank", "2")
    assert job.status == 130
    assert "Traceback" not in job.out + job.err
    assert job.out.count(f"Ctrl-C (SIGINT): saved step 8 to {folder}; resume with") == 1
    assert "RESULT" not in job.out
    assert result(run_job(2, JOB, "--checkpoint", folder, "--resume")) == undisturbed()


def test_one_process_needs_no_mpi4py_at_all(tmp_path: Path) -> None:
    script = tmp_path / "without.py"
    script.write_text(
        "import sys, runpy\n"
        "sys.modules['mpi4py'] = None  # any import of it raises ImportError\n"
        f"sys.argv = ['train.py', '--steps', '3', '--json']\n"
        f"runpy.run_path({str(ROOT / 'examples' / 'train.py')!r}, run_name='__main__')\n"
    )
    job = run_job(0, script)
    assert job.status == 0, job.err
    assert json.loads(job.out.splitlines()[-1])["steps"] == 3
