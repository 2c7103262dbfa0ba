"""The progress bar: rank 0's, on stderr, and nothing anywhere else."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

import distgrad
from distgrad.comm import connect, run_ranks
from distgrad.observe import Progress

ROOT = Path(distgrad.__file__).parents[1]
NUMBERS = {"loss": 0.123456, "samples/s": 12345.6}


def train(visible, steps=3, done=0, say=""):
    with Progress(visible=visible, total=10, done=done) as bar:
        for _ in range(steps):
            bar.step(2, NUMBERS)
        if say:
            bar.say(say)


def test_a_visible_bar_counts_steps_and_shows_the_numbers(capsys):
    train(True, steps=3, done=4)
    printed = capsys.readouterr()
    assert not printed.out
    last = printed.err.rstrip().splitlines()[-1]
    assert "7/10" in last
    assert "epoch 2" in last
    assert "loss 0.1235, samples/s 12,346" in last


def test_a_line_is_printed_whole_and_once(capsys):
    train(True, say="step 3: loss 0.5")
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.replace("\r", "\n").splitlines().count("step 3: loss 0.5") == 1


def test_off_a_terminal_every_state_is_a_line_of_its_own(capsys):
    # Open MPI's mpirun holds back whatever does not end a line.
    train(True, say="A word between")
    err = capsys.readouterr().err
    assert "\r" not in err
    assert "A word between\n" in err
    assert err.endswith("\n")
    assert all(line.strip() for line in err.splitlines())


def test_an_invisible_bar_writes_nothing(capfd):
    train(False, say="nobody reads this")
    assert tuple(capfd.readouterr()) == ("", "")


def test_only_rank_0_writes(monkeypatch):
    written = {}

    class Stderr(io.StringIO):
        def write(self, text):
            rank = connect().rank
            written[rank] = written.get(rank, "") + text
            return len(text)

    monkeypatch.setattr(sys, "stderr", Stderr())
    run_ranks(3, lambda: train(connect().rank == 0, say=f"I am {connect().rank}"))
    assert set(written) == {0}
    assert "I am 0" in written[0]


def test_without_a_total_the_bar_still_counts(capsys):
    with Progress(visible=True, total=None, done=0) as bar:
        for _ in range(4):
            bar.step(0, {})
    assert "4step" in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_shown(capsys):
    with Progress(visible=True, total=2, done=0) as bar:
        bar.step(0, {"loss": float("nan"), "|g|": float("-inf")})
    assert "loss nan, |g| -inf" in capsys.readouterr().err


def test_the_bar_is_closed_when_training_fails(capsys):
    def fail():
        with Progress(visible=True, total=5, done=0) as bar:
            bar.step(0, {})
            raise ValueError("of the loop")

    with pytest.raises(ValueError, match="of the loop"):
        fail()
    assert capsys.readouterr().err.endswith("\n")


def test_an_invisible_bar_needs_no_tqdm():
    code = (
        "import sys; sys.modules['tqdm'] = None\n"
        "from distgrad.observe import Progress\n"
        "with Progress(visible=False, total=1, done=0) as bar: bar.step(0, {}); bar.say('x')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
