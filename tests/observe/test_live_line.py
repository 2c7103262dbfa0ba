"""What is on the screen while a training runs: one live line in every world, at every width."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
from jobs import mpirun, run_job
from terminal import Terminal, distgrad_run

import distgrad as dg

JOB = Path(__file__).parent / "jobs" / "watched.py"
LIVE = re.compile(r"^epoch \d+/40  ")
FIELDS = {
    60: ("loss", "samples/s", "eta"),
    80: ("loss", "samples/s", "eta", "validation loss"),
    120: ("step", "loss", "samples/s", "eta", "validation loss", "accuracy"),
}


def command(world: str) -> list[str]:
    verb, _, ranks = world.partition(" ")
    if verb == "alone":
        return [sys.executable]
    if verb == "mpirun":
        return [*mpirun(int(ranks)), sys.executable]
    if verb == "debug":
        return [sys.executable, "-m", "distgrad", "debug", "-n", ranks]
    return distgrad_run(int(ranks))


def settled(job: Terminal, columns: int) -> list[str]:
    """Return the screen once its live line is one for so many columns."""
    deadline = time.monotonic() + 20
    while True:
        screen = job.screen()
        if screen and LIVE.match(screen[-1]) and all(f in screen[-1] for f in FIELDS[columns]):
            more = (f for width in FIELDS if width > columns for f in FIELDS[width])
            if not any(f in screen[-1] for f in {*more} - {*FIELDS[columns]}):
                return screen
        assert time.monotonic() < deadline, screen
        time.sleep(0.1)


@pytest.mark.parametrize("world", ["alone", "run 3", "mpirun 3", "debug 3"])
def test_there_is_one_live_line_that_follows_the_width_and_all_else_is_above(world, tmp_path):
    job = Terminal(tmp_path, [*command(world), str(JOB), str(tmp_path), "--save"])
    job.wait_for("ready")
    ranks = range(int(world.partition(" ")[2] or 1))
    try:
        for columns in (80, 60, 120):
            job.resize(columns)
            screen = settled(job, columns)
            assert sum(bool(LIVE.match(line)) for line in screen) == 1
            # What was printed is whole, and begins its line.
            for rank in ranks:
                assert f"rank {rank} prints" in screen
                assert f"rank {rank} warns" in screen
            assert any(re.match(r"epoch 3/40, step 15: validation loss", li) for li in screen)
    finally:
        (tmp_path / "go").touch()
    assert job.status() == 0, job.said
    screen = job.screen()
    assert not any(LIVE.match(line) for line in screen)  # it is gone
    table = "\n".join(screen[screen.index("stopped at step 200: 40 epochs") :])
    assert re.search(r"\n  validation  loss .*, accuracy .* at step 195\n", table)
    assert re.search(r"\n  took +\d.* for 200 steps, .* samples/s\n", table)
    assert f"saved       step 200, in {tmp_path}/run" in table.replace("\n              ", "")
    assert ("compute" in table) is not world.startswith("debug")  # whose ranks take turns


def test_what_resumes_it_is_what_was_typed(tmp_path):
    job = Terminal(tmp_path, [*distgrad_run(2), str(JOB), str(tmp_path), "--save"], columns=120)
    job.wait_for("ready")
    job.press_ctrl_c()
    (tmp_path / "go").touch()
    assert job.status() == 130
    screen = "\n".join(job.screen())
    found = re.search(
        r"Ctrl-C \(SIGINT\): saved step \d+ to \S+;\s+resume\s+with\n *(.*--resume)",
        screen,
        re.DOTALL,
    )
    assert found, screen
    assert "detected that one or more processes" not in screen  # as mpirun has it
    said = found[1].replace("\n", "")
    assert said == f"{sys.executable} -m distgrad run -n 2 {JOB} {tmp_path} --save --resume"


def test_what_all_ranks_refuse_is_said_once_and_last(tmp_path):
    dg.checkpoint.save(str(tmp_path / "run"), step=1, arrays={}, meta={})
    job = Terminal(tmp_path, [*distgrad_run(3), str(JOB), str(tmp_path), "--save"], columns=70)
    assert job.status() == 1
    words = " ".join(job.said.split())
    assert words.count("Traceback") == words.count("name another folder") == 1
    screen = job.screen()
    first = next(i for i, line in enumerate(screen) if "CheckpointError:" in line)
    assert screen[first].startswith("[rank 0/3] ")
    assert " ".join(line.strip() for line in screen[first:]).endswith("or name another folder")


def test_in_a_log_there_is_a_line_in_so_many_seconds_with_keys(tmp_path):
    (tmp_path / "go").touch()
    for ranks in (0, 3):
        done = run_job(ranks, JOB, str(tmp_path), "--short")
        assert done.status == 0, done.err
        lines = [line for line in done.err.splitlines() if line.startswith("step ")]
        first, evaluation = lines
        keys = r"step 1/20 epoch 1/4 loss \S+ accuracy \S+ gradient_norm \S+ samples/s \d+$"
        assert re.match(keys, first)
        expected = r"step 15/20 epoch 3/4 validation/loss \S+ validation/accuracy \S+$"
        assert re.match(expected, evaluation)
        assert "\x1b" not in done.err
        assert "stopped at step 20: 4 epochs\ntraining: loss " in done.err


WISHES = {
    "variable": ("alone", [], {"DISTGRAD_PLAIN": "1"}),
    "dumb": ("alone", [], {"TERM": "dumb"}),
    "option": ("run 2", ["--plain"], {}),
}


@pytest.mark.parametrize("wish", WISHES)
def test_who_wants_lines_gets_lines_on_a_terminal_too(wish, tmp_path):
    (tmp_path / "go").touch()
    world, options, variables = WISHES[wish]
    words = [*command(world), *options, str(JOB), str(tmp_path), "--short"]
    job = Terminal(tmp_path, words, **variables)
    assert job.status() == 0, job.said
    assert "\x1b" not in job.said
    assert re.search(r"^step 1/20 epoch 1/4 loss ", job.said, re.MULTILINE)


def test_output_that_goes_to_a_file_stays_free_of_the_live_line(tmp_path):
    (tmp_path / "go").touch()
    shell = f"{' '.join(command('mpirun 2'))} {JOB} {tmp_path} --short > {tmp_path}/out"
    job = Terminal(tmp_path, ["sh", "-c", shell])
    assert job.status() == 0, job.said
    assert (tmp_path / "out").read_text().count(" prints\n") == 2
    assert "\x1b" not in (tmp_path / "out").read_text()
    assert "\x1b[J" in job.said  # stderr is on the terminal, and live
