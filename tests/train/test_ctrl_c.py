"""Ctrl-C during ``fit``: all ranks end after the same step, saved, with 130 and not a traceback."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from jobs import run_job
from terminal import Terminal, distgrad_run

JOB = Path(__file__).parent / "jobs" / "interrupted.py"
ENDS_AT = {"step": 3, "evaluation": 4, "saving": 4, "last save": 6, "first step": 1, "loading": 3}
CASES = [
    *(("run 3", moment) for moment in ENDS_AT if moment != "first step"),
    *(("alone", moment) for moment in ("step", "last save", "first step")),
    *(("debug 3", moment) for moment in ("step", "evaluation", "loading")),
    ("run 2", "step"),
]


def start(world: str, folder: Path, *arguments: str) -> Terminal:
    """Run the job on a terminal until its ranks are where they wait for Ctrl-C."""
    verb, _, ranks = world.partition(" ")
    command = [sys.executable]
    ready = ["ready-*"]  # of simulated ranks the first that waits lets no other run
    if verb == "debug":
        command += ["-m", "distgrad", "debug", "-n", ranks]
    if verb == "run":
        command = distgrad_run(int(ranks))
        ready = [f"ready-{rank}" for rank in range(int(ranks))]
    job = Terminal(folder, [*command, str(JOB), str(folder), *arguments])
    job.wait_for(*ready)
    return job


def interrupted(world: str, folder: Path, *arguments: str) -> str:
    """Press Ctrl-C at the moment and return what was said."""
    job = start(world, folder, *arguments)
    job.press_ctrl_c()
    assert job.status() == 130, job.said
    assert "Traceback" not in job.said
    assert "KeyboardInterrupt" not in job.said
    assert "RESULT" not in job.said  # what comes after fit is not run
    return job.said


def result(folder: Path, *arguments: str) -> str:
    """Run the job to its end in one process and return its result."""
    job = run_job(0, JOB, str(folder), "never", *arguments)
    assert job.status == 0, job.err
    return next(line for line in job.out.splitlines() if line.startswith("RESULT"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return result(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(("world", "moment"), CASES)
def test_ctrl_c_ends_all_ranks_after_the_step_and_what_it_saved_is_resumed(
    world: str, moment: str, tmp_path: Path, undisturbed: str
) -> None:
    said = interrupted(world, tmp_path, moment)
    line = rf"Ctrl-C \(SIGINT\): saved step {ENDS_AT[moment]} to {tmp_path}/run; resume with\n"
    line += r" {2}\S.* --resume$"
    assert len(re.findall(line, said.replace("\r", ""), re.MULTILINE)) == 1, said
    assert said.count("saved step") == 1
    assert result(tmp_path, "--resume") == undisturbed


@pytest.mark.parametrize("world", ["debug 3", "run 2"])
def test_without_a_folder_it_says_that_nothing_was_saved(world: str, tmp_path: Path) -> None:
    said = interrupted(world, tmp_path, "step", "--nowhere")
    assert said.count("stopped at step 3; nothing was saved: that takes Trainer(checkpoint=") == 1


@pytest.mark.parametrize("world", ["alone", "debug 3", "run 2"])
def test_a_second_ctrl_c_ends_it_at_once(world: str, tmp_path: Path) -> None:
    job = start(world, tmp_path, "stuck")
    job.press_ctrl_c()
    job.wait_for_words("Ctrl-C again")  # MPICH's mpiexec has words of its own for the rest
    job.press_ctrl_c()
    assert job.status() in {130, 255}  # 255 is what MPICH's mpiexec says of a forced end
    assert "saved step" not in job.said
