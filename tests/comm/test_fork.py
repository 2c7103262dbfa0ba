"""Processes that a rank starts: they end when they should, and are no ranks."""

from pathlib import Path

import pytest
from jobs import run_job

JOB = Path(__file__).parent / "jobs" / "fork.py"


def run(ranks, *hows):
    done = run_job(ranks, JOB, *hows)
    assert done.status == 0, done.err
    assert done.out.count("through") == max(ranks, 1)
    assert done.seconds < 40
    return done


@pytest.fixture(scope="module", params=[0, 3])
def started(request):
    """How many ranks, and what they said of the processes that they started one after another."""
    hows = ("terminate", "pool", "os.fork", "subprocess")
    return max(request.param, 1), run(request.param, *hows).out


def test_a_process_is_ended_by_terminate_while_a_trainer_notes_sigterm(started):
    ranks, out = started
    assert out.count("ended with -15") == ranks


def test_a_pool_inside_a_dataset_returns_and_ends(started):
    ranks, out = started
    assert out.count("squares [0, 1, 4, 9, 16]") == ranks


def test_a_forked_child_that_leaves_by_sys_exit_does_not_wait_for_other_ranks(started):
    ranks, out = started
    assert out.count("ended with 7") == ranks


def test_a_program_started_by_a_rank_runs(started):
    ranks, out = started
    assert out.count("hello") == ranks


def test_a_forked_child_that_goes_on_as_a_rank_is_told_that_it_is_none():
    out = run(3, "barrier", "train").out
    for rank in range(3):
        assert out.count(f"CommError: [rank {rank}/3] collective ") == 2
    assert out.count("in a process that this rank has forked; a child is no rank") == 6
    assert out.count("ended with 0") == 6


def test_a_forked_child_of_a_world_of_one_is_a_world_of_one():
    told = "no error\nended with 0\n"
    assert run(0, "barrier", "train").out == f"barrier\n{told}train\n{told}through\n"


def test_a_program_started_by_a_rank_that_takes_itself_for_it_is_told_that_it_is_none():
    err = run(2, "again").err
    for rank in range(2):
        assert f"LaunchError: this process was started by rank {rank} (process " in err
