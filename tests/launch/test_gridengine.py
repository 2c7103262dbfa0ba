"""``distgrad submit`` on a real Grid Engine of three hosts: bits, arrays, errors, the time limit.

All jobs are submitted at once: most of their time is starting.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from gridengine import grid_engine
from jobs import ROOT

TRAIN = ROOT / "examples/train.py"
MODEL = [TRAIN, "--data", "digits", "--model", "mlp", "--shards", "4", "--epochs", "100", "--json"]
SAVING = ["--checkpoint", "{checkpoint}", "--every", "20", "--resume"]
STEPS = 60
WRONG = "import distgrad as dg\nif dg.init().rank == 2:\n    raise ValueError('a wrong number')\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with grid_engine(3, tmp_path_factory.mktemp("grid")) as made:
        yield made


@pytest.fixture(scope="module")
def jobs(engine):
    """The numbers of the jobs."""
    (engine.folder / "wrong.py").write_text(WRONG)
    array = ["--array", "1-3", "--", *MODEL, "--seed", "{task}", "--steps", 40]
    return SimpleNamespace(
        three=engine.submit("-n", 3, "--name", "three", "--", *MODEL, "--steps", STEPS),
        endless=engine.hand_over("-n", 2, "--", *MODEL, "--steps", 100_000, *SAVING),
        wrong=engine.hand_over("-n", 3, engine.folder / "wrong.py"),
        array=engine.hand_over("-n", 1, "--name", "array", *array, *SAVING),
    )


def test_at_its_time_limit_a_job_saves_and_is_put_back(engine, jobs):
    checkpoints = engine.folder / f"checkpoints/gridengine-{jobs.endless}"
    engine.wait_for(lambda: any(checkpoints.glob("step-*")), "checkpoint", 60)
    os.kill(engine.script_of(jobs.endless), signal.SIGUSR1)  # as its timer does
    engine.wait_for(lambda: engine.state(jobs.endless)[:1] == "R", "return to the queue")
    assert "save" in engine.log(jobs.endless)
    engine.call("qdel", jobs.endless)


def test_three_hosts_have_the_result_of_one_process(engine, jobs):
    alone = subprocess.run(
        [sys.executable, *MODEL, "--steps", str(STEPS)],
        env=engine.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    (result,) = engine.results(jobs.three, 1)
    assert result["ranks"] == 3
    assert result["sha256"] == json.loads(alone.stdout.splitlines()[-1])["sha256"]


def test_the_tasks_of_an_array_have_numbers_and_folders_of_their_own(engine, jobs):
    assert len({result["sha256"] for result in engine.results(jobs.array, 3)}) == 3
    folders = (engine.folder / f"checkpoints/gridengine-{jobs.array}").iterdir()
    assert sorted(folder.name for folder in folders) == ["task-1", "task-2", "task-3"]


def test_a_job_whose_script_raises_an_error_ends_and_is_not_put_back(engine, jobs):
    assert engine.status(jobs.wrong)["exit_status"] == "1"
    assert engine.state(jobs.wrong) == ""
    assert "ValueError: a wrong number" in engine.log(jobs.wrong)
