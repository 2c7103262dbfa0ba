"""Progress: what it counts, where it is shown, and that it stays out of the way."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import distgrad
from distgrad.comm import connect, run_ranks
from distgrad.observe import Progress
from distgrad.observe.terminal import choose
from distgrad.observe.terminal.displays import Lines, Marks, Terminal

ROOT = Path(distgrad.__file__).parents[1]


def train(rank=0, steps=3, done=0, say="", **settings):
    with Progress(rank=rank, total=10, done=done, per_epoch=4, **settings) as progress:
        for step in range(done, done + steps):
            progress.step(step // 4, {"loss": float(step)}, rate=12345.6)
        if say:
            progress.say(say)
    return progress


def test_numbers_are_means_over_the_epoch_so_far(capsys):
    assert train(steps=3).status().numbers == {"loss": 1.0}
    assert train(steps=6).status().numbers == {"loss": 4.5}


def test_steps_that_were_skipped_do_not_count():
    progress = Progress(rank=0, total=None, per_epoch=None)
    progress.step(0, {"loss": 1.0})
    progress.step(0, {"loss": float("nan")}, skipped=1)
    progress.step(0, {"loss": 2.0}, skipped=1)
    assert progress.status().numbers == {"loss": 1.5}
    assert progress.status().skipped == 1


def test_a_nan_that_nobody_has_skipped_is_shown(capsys):
    with Progress(rank=0, total=2) as progress:
        progress.step(0, {"loss": float("nan"), "gradient_norm": float("-inf")})
    assert "step 1/2 epoch 1 loss nan gradient_norm -inf" in capsys.readouterr().err


def test_epochs_begin_with_1_and_an_unfinished_one_counts():
    status = train(steps=5).status()
    assert (status.step, status.total, status.epoch, status.epochs) == (5, 10, 2, 3)
    assert train(steps=1, done=8).status().epoch == 3


def test_the_rest_takes_as_long_as_the_steps_have_taken_but_for_the_first(monkeypatch):
    now = iter([100.0, 102.0, 104.0, 104.0])
    monkeypatch.setattr("distgrad.observe.progress.time.perf_counter", lambda: next(now))
    assert train(steps=3).status().left == pytest.approx(2.0 * 7)


def test_without_a_total_nobody_knows_the_end():
    progress = Progress(rank=0, total=None)
    for _ in range(3):
        progress.step(0, {})
    status = progress.status()
    assert (status.total, status.epochs, status.left) == (None, None, None)


def test_a_line_is_printed_whole_and_once(capsys):
    train(say="a word between")
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.splitlines().count("a word between") == 1
    assert "\r" not in printed.err


@pytest.mark.parametrize("settings", [{"rank": 1}, {"rank": 0, "visible": False}])
def test_other_ranks_and_an_invisible_one_write_nothing(capfd, settings):
    train(**settings, say="nobody reads this")
    assert tuple(capfd.readouterr()) == ("", "")


def test_of_simulated_ranks_only_rank_0_writes(monkeypatch):
    written = {}

    class Stderr(io.StringIO):
        def write(self, text):
            rank = connect().rank
            written[rank] = written.get(rank, "") + text
            return len(text)

    monkeypatch.setattr(sys, "stderr", Stderr())
    run_ranks(3, lambda: train(connect().rank, say=f"I am {connect().rank}"))
    assert set(written) == {0}
    assert "I am 0" in written[0]


@pytest.mark.parametrize("stderr", ["None", "open('/dev/full', 'w')"])
def test_a_log_that_cannot_be_written_ends_no_training(stderr):
    code = (
        "import os, sys; from distgrad.observe import Progress\n"
        f"sys.stderr = {stderr}\n"
        "with Progress(rank=0, total=1) as p: p.step(0, {}); p.say('x')\n"
        "os._exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 7


def test_an_invisible_one_and_a_log_need_no_rich():
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "from distgrad.observe import Progress\n"
        "for visible in (False, True):\n"
        "    with Progress(rank=0, total=1, visible=visible) as p: p.step(0, {}); p.say('x')"
    )
    subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60, stderr=subprocess.DEVNULL
    )


# -- where --------------------------------------------------------------------------------------

RANK = {"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "0"}


@pytest.fixture
def terminal():
    """The text stream of a program on a terminal."""
    mine, its = os.openpty()
    with open(its, "w", encoding="utf-8") as stream:
        yield stream
    os.close(mine)


def test_it_goes_where_it_can_be_seen(terminal):
    pipe = io.StringIO()
    assert type(choose({}, terminal)) is Terminal
    assert type(choose({}, pipe)) is Lines
    assert type(choose({}, None)) is Lines
    assert type(choose({**RANK, "DISTGRAD_LIVE": "1"}, pipe)) is Marks
    assert type(choose({"DISTGRAD_LIVE": "1"}, pipe)) is Lines  # a program that a rank has started
    assert type(choose(RANK, pipe)) is Lines  # no mpirun is above this process
    for asked in ({"DISTGRAD_PLAIN": "1"}, {"TERM": "dumb"}):
        assert type(choose(asked, terminal)) is Lines
        assert type(choose({**RANK, "DISTGRAD_LIVE": "1", **asked}, pipe)) is Lines
    assert type(choose({"DISTGRAD_PLAIN": "0"}, terminal)) is Terminal


def test_a_batch_jobs_log_has_fewer_lines():
    assert choose({"SLURM_JOB_ID": "7"}, io.StringIO()).interval > choose({}, None).interval
