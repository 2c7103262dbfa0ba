"""``distgrad submit`` on a real Slurm of three hosts: requeue, resume, arrays, errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from slurm import ENVIRONMENT, REPO, Job, call, cluster

STEPS = 600
TRAIN = REPO / "examples/train.py"
MODEL = [TRAIN, "--data", "digits", "--model", "mlp", "--shards", "4", "--epochs", "100", "--json"]
SAVING = ["--checkpoint", "{checkpoint}", "--every", "20", "--resume"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def three_hosts():
    with cluster(3):
        yield


@pytest.fixture(scope="module")
def undisturbed(three_hosts):
    alone = call(sys.executable, *MODEL, "--steps", STEPS, timeout=60)
    return json.loads(alone.splitlines()[-1])


def test_a_job_with_a_killed_rank_is_requeued_and_ends_with_the_undisturbed_result(
    tmp_path, undisturbed
):
    job = Job(tmp_path, "-n", 4, "--nodes", 2, "--", *MODEL, "--steps", STEPS, *SAVING)
    job.wait(lambda: any(job.checkpoints.glob("step-*")), "checkpoint", 60)
    assert len(job.ranks) == 4
    os.kill(max(job.ranks), signal.SIGKILL)
    job.wait(lambda: job.fields["Restarts"] == "1", "requeue after the kill", 30)
    assert job.results == [], "the run ended before the kill: more steps are needed"
    job.wait(lambda: job.states == ["PENDING"], "return to the queue", 30)

    # Slurm starts a requeued job after two minutes, and revokes by the second: not at once.
    time.sleep(2)
    call("scontrol", "update", f"job={job.number}", "StartTime=now")
    job.wait_for_the_end(90)

    (result,) = job.results
    assert result["ranks"] == 4
    assert result["steps"] == STEPS
    assert result["sha256"] == undisturbed["sha256"]
    assert "resum" in job.log.lower()


def test_a_job_goes_on_on_another_number_of_nodes_with_the_same_result(tmp_path, undisturbed):
    saving = ["--checkpoint", "mine", "--every", "20", "--resume"]
    first = Job(tmp_path, "-n", 2, "--nodes", 2, "--", *MODEL, "--steps", 200, *saving)
    first.wait_for_the_end()
    second = Job(tmp_path, "-n", 3, "--nodes", 3, "--", *MODEL, "--steps", STEPS, *saving)
    second.wait_for_the_end()
    (result,) = second.results
    assert result["ranks"] == 3
    assert second.fields["NumNodes"] == "3"
    assert first.results[0]["sha256"] != undisturbed["sha256"]
    assert result["sha256"] == undisturbed["sha256"]


def test_the_tasks_of_an_array_have_numbers_and_folders_of_their_own(tmp_path):
    words = [*MODEL, "--steps", 40, "--seed", "{task}", *SAVING]
    job = Job(tmp_path, "-n", 1, "--array", "1-3", "--", *words)
    job.wait_for_the_end()
    assert len({result["sha256"] for result in job.results}) == 3
    assert sorted(f.name for f in job.checkpoints.iterdir()) == ["task-1", "task-2", "task-3"]


def test_a_job_whose_script_raises_an_error_ends_and_is_not_requeued(tmp_path):
    (tmp_path / "wrong.py").write_text(
        "import distgrad as dg\nif dg.init().rank == 2:\n    raise ValueError('a wrong number')\n"
    )
    job = Job(tmp_path, "-n", 3, "--nodes", 3, "wrong.py")
    job.wait(lambda: job.states != ["PENDING"], "start", 20)
    while job.states == ["RUNNING"]:
        time.sleep(0.1)
    assert job.states == ["FAILED"]
    assert job.fields["Restarts"] == "0"
    assert job.fields["ExitCode"] == "1:0"
    assert "ValueError: a wrong number" in job.log


def test_what_slurm_says_of_an_unknown_partition_is_shown(tmp_path):
    (tmp_path / "train.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "distgrad", "submit", "-n", "2", "--queue", "moon", "train.py"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "sbatch did not take the job (status 1)" in done.stderr
    assert "invalid partition specified: moon" in done.stderr
