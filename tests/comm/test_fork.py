"""Processes that a rank starts: they end when they should, and are no ranks."""

from pathlib import Path

import pytest
from jobs import run_job

JOB = Path(__file__).parent / "jobs" / "fork.py"
WORLDS = pytest.mark.parametrize("ranks", [0, 3])


def run(how, ranks):
    done = run_job(ranks, JOB, how)
    assert done.status == 0, done.err
    assert done.out.count("through") == max(ranks, 1)
    assert done.seconds < 40
    return done


@WORLDS
def test_a_process_is_ended_by_terminate_while_a_trainer_notes_sigterm(ranks):
    assert run("terminate", ranks).out.count("ended with -15") == max(ranks, 1)


@WORLDS
def test_a_pool_inside_a_dataset_returns_and_ends(ranks):
    assert run("pool", ranks).out.count("squares [0, 1, 4, 9, 16]") == max(ranks, 1)


@WORLDS
def test_a_forked_child_that_leaves_by_sys_exit_does_not_wait_for_other_ranks(ranks):
    assert run("os.fork", ranks).out.count("ended with 7") == max(ranks, 1)


@WORLDS
def test_a_program_started_by_a_rank_runs(ranks):
    assert run("subprocess", ranks).out.count("hello") == max(ranks, 1)


@pytest.mark.parametrize("how", ["barrier", "train"])
def test_a_forked_child_that_goes_on_as_a_rank_is_told_that_it_is_none(how):
    out = run(how, 3).out
    for rank in range(3):
        assert f"CommError: [rank {rank}/3] collective " in out
    assert out.count("in a process that this rank has forked; a child is no rank") == 3
    assert out.count("ended with 0") == 3


@pytest.mark.parametrize("how", ["barrier", "train"])
def test_a_forked_child_of_a_world_of_one_is_a_world_of_one(how):
    assert run(how, 0).out == "no error\nended with 0\nthrough\n"


def test_a_program_started_by_a_rank_that_takes_itself_for_it_is_told_that_it_is_none():
    err = run("again", 2).err
    for rank in range(2):
        assert f"LaunchError: this process was started by rank {rank} (process " in err
