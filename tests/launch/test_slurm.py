"""``distgrad submit`` on a real Slurm of three hosts: requeue, resume, arrays, errors.

All jobs are submitted at once: most of their time is starting.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from jobs import ROOT
from slurm import Job, cluster

STEPS = 300
TRAIN = ROOT / "examples/train.py"
MODEL = [TRAIN, "--data", "digits", "--model", "mlp", "--shards", "4", "--epochs", "100", "--json"]
SAVING = ["--checkpoint", "{checkpoint}", "--every", "20", "--resume"]
WRONG = "import distgrad as dg\nif dg.init().rank == 2:\n    raise ValueError('a wrong number')\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster(3, tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def jobs(slurm, tmp_path_factory):
    """The jobs: the one with a killed rank first, as it takes longest."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "wrong.py").write_text(WRONG)

    def job(*words):
        return Job.handed_over(slurm, folder, *words)

    def first(steps, ranks, *options):
        words = ["--steps", steps, *SAVING[2:], "--checkpoint", "mine"]
        return job("-n", ranks, "--nodes", ranks, *options, "--", *MODEL, *words)

    words = ["-n", 4, "--nodes", 2, "--", *MODEL, "--steps", STEPS, *SAVING]
    killed = Job.submitted(slurm, folder, *words)
    small = first(100, 2)
    array = [*MODEL, "--steps", 40, "--seed", "{task}", *SAVING]
    return SimpleNamespace(
        killed=killed,
        small=small,
        larger=first(STEPS, 3, f"--option=--dependency=afterok:{small.number}"),
        wrong=job("-n", 3, "--nodes", 3, folder / "wrong.py"),
        array=job("-n", 1, "--array", "1-3", "--", *array),
    )


@pytest.fixture(scope="module")
def undisturbed(slurm, jobs):
    alone = subprocess.run(
        [sys.executable, *MODEL, "--steps", str(STEPS)],
        env=slurm.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(alone.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def requeued(slurm, jobs):
    """The job of which a rank was killed in the middle, when it is about to start again."""
    job = jobs.killed
    job.wait(lambda: any(job.checkpoints.glob("step-*")), "checkpoint")
    assert len(job.ranks) == 4
    os.kill(max(job.ranks), signal.SIGKILL)
    job.wait(lambda: job.fields["Restarts"] == "1", "requeue after the kill")
    assert job.results == [], "the run ended before the kill: more steps are needed"
    job.wait(lambda: job.states == ["PENDING"], "return to the queue")
    # Slurm starts a requeued job after two minutes, and revokes by the second: not at once.
    time.sleep(2)
    slurm.call("scontrol", "update", f"job={job.number}", "StartTime=now")
    return job


def test_a_job_whose_script_raises_an_error_ends_and_is_not_requeued(jobs, requeued):
    job = jobs.wrong
    deadline = time.monotonic() + 60
    while job.states != ["FAILED"]:
        assert time.monotonic() < deadline, job.states
        time.sleep(0.2)
    assert job.fields["Restarts"] == "0"
    assert job.fields["ExitCode"] == "1:0"
    assert "ValueError: a wrong number" in job.log


def test_a_job_goes_on_on_another_number_of_nodes_with_the_same_result(jobs, undisturbed):
    jobs.larger.wait_for_the_end()
    (result,) = jobs.larger.results
    assert result["ranks"] == 3
    assert jobs.larger.fields["NumNodes"] == "3"
    assert jobs.small.results[0]["sha256"] != undisturbed["sha256"]
    assert result["sha256"] == undisturbed["sha256"]


def test_the_tasks_of_an_array_have_numbers_and_folders_of_their_own(jobs):
    job = jobs.array
    job.wait_for_the_end()
    assert len({result["sha256"] for result in job.results}) == 3
    assert sorted(f.name for f in job.checkpoints.iterdir()) == ["task-1", "task-2", "task-3"]


def test_what_slurm_says_of_an_unknown_partition_is_shown(slurm, tmp_path):
    (tmp_path / "train.py").touch()
    words = ["submit", "-n", "2", "--queue", "moon", "train.py"]
    done = slurm.run(sys.executable, "-m", "distgrad", *words, folder=tmp_path)
    assert done.returncode == 2
    assert "sbatch did not take the job (status 1)" in done.stderr
    assert "invalid partition specified: moon" in done.stderr


def test_a_job_with_a_killed_rank_is_requeued_and_ends_with_the_undisturbed_result(
    requeued, undisturbed
):
    requeued.wait_for_the_end()
    (result,) = requeued.results
    assert result["ranks"] == 4
    assert result["steps"] == STEPS
    assert result["sha256"] == undisturbed["sha256"]
    assert "resum" in requeued.log.lower()
