"""``distgrad submit`` on a real Grid Engine of three hosts: three ranks, an array, an error."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from gridengine import grid_engine
from jobs import ROOT

TRAIN = ROOT / "examples/train.py"
MODEL = [TRAIN, "--data", "digits", "--model", "mlp", "--shards", "4", "--epochs", "100", "--json"]
STEPS = 120

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with grid_engine(3, tmp_path_factory.mktemp("grid")) as made:
        yield made


def results(engine, job):
    logs = sorted(engine.folder.glob(f"*.o{job}*"))
    lines = [line for log in logs for line in log.read_text().splitlines()]
    return [json.loads(line) for line in lines if line[:1] == "{"]


def test_three_hosts_have_the_result_of_one_process(engine):
    job = engine.submit("-n", 3, "--", *MODEL, "--steps", STEPS)
    alone = subprocess.run(
        [sys.executable, *MODEL, "--steps", str(STEPS)],
        env=engine.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    engine.wait_for_the_end(job)
    (result,) = results(engine, job)
    assert result["ranks"] == 3
    assert result["sha256"] == json.loads(alone.stdout.splitlines()[-1])["sha256"]


def test_the_tasks_of_an_array_have_numbers_and_folders_of_their_own(engine):
    saving = ["--seed", "{task}", "--checkpoint", "{checkpoint}", "--every", "20", "--resume"]
    job = engine.submit("-n", 1, "--array", "1-3", "--", *MODEL, "--steps", 40, *saving)
    engine.wait_for_the_end(job)
    assert len({result["sha256"] for result in results(engine, job)}) == 3
    folders = (engine.folder / f"checkpoints/gridengine-{job}").iterdir()
    assert sorted(folder.name for folder in folders) == ["task-1", "task-2", "task-3"]


def test_a_job_whose_script_raises_an_error_ends_and_is_not_put_back(engine):
    (engine.folder / "wrong.py").write_text(
        "import distgrad as dg\nif dg.init().rank == 2:\n    raise ValueError('a wrong number')\n"
    )
    job = engine.submit("-n", 3, "wrong.py")
    engine.wait_for_the_end(job)
    assert engine.status(job)["exit_status"] == "1"
    (log,) = engine.folder.glob(f"wrong.o{job}")
    assert "ValueError: a wrong number" in log.read_text()


def test_at_its_time_limit_a_job_saves_and_is_put_back(engine):
    words = ["--checkpoint", "{checkpoint}", "--every", "1000", "--resume"]
    said = engine.call(
        *(sys.executable, "-m", "distgrad", "submit", "--scheduler", "sge", "--dry-run"),
        *("-n", 3, "--setup", engine.setup, "--", *MODEL, "--steps", 100000, *words),
    )
    (engine.folder / "hasty.sge").write_text(said.replace("3480", "8"))
    job = engine.call("qsub", "-terse", "hasty.sge").strip()
    engine.wait_for(lambda: "Rq" in engine.call("qstat").split(), "return to the queue")
    assert any((engine.folder / f"checkpoints/gridengine-{job}").glob("step-*"))
    engine.call("qdel", job)
