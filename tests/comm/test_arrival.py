"""A rank that does not come to the start of a job is named by those that wait, without MPI."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager

import pytest

from distgrad.comm import arrival, launchers
from distgrad.comm.neighbours import identity, neighbours
from distgrad.errors import LaunchError

WAITS = """
import time
from distgrad.comm import arrival
with arrival.watch(3, {timeout}):
    time.sleep(30)
print("through")
"""
BUSY = "print('here', flush=True); import time; time.sleep(60)"


@pytest.fixture
def job():
    """What Open MPI's launcher puts in the environment, of a job of three on this host."""
    names = f"test-{uuid.uuid4().hex}-{'a-long-name' * 20}@1"

    def environment(rank):
        return {**os.environ, "PMIX_NAMESPACE": names, "OMPI_COMM_WORLD_RANK": str(rank)}

    return environment


@contextmanager
def process(code, environment):
    started = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def ending_of(waiter, seconds):
    out, err = waiter.communicate(timeout=seconds)
    assert "through" not in out
    return err


def test_a_stopped_rank_is_named_with_the_command_that_continues_it(job):
    with process(BUSY, job(0)) as first, process(BUSY, job(2)) as other:
        other.stdout.readline()
        first.stdout.readline()
        other.send_signal(signal.SIGSTOP)
        with process(WAITS.format(timeout=1), job(1)) as waiter:
            said = ending_of(waiter, 30)
            assert waiter.returncode == 1
        assert (
            "[rank 1/3] distgrad.errors.CommTimeoutError: [rank 1/3] MPI has not come up within "
            f"1 s: rank 2 is stopped (`kill -CONT {other.pid}` lets it go on)"
        ) in said
        assert "rank 0" not in said  # it may well be waiting itself


def test_a_rank_that_has_not_called_init_is_told_from_one_that_waits_as_well(job):
    with process(BUSY, job(0)) as late, process(WAITS.format(timeout=60), job(2)):
        late.stdout.readline()
        with process(WAITS.format(timeout=3), job(1)) as waiter:
            said = ending_of(waiter, 30)
        assert f"rank 0 (process {late.pid}) has not called dg.init yet" in said
        assert "rank 2" not in said
        assert "allow it with dg.init(timeout=...)" in said


def test_a_rank_that_ends_while_others_wait_is_named_long_before_the_timeout(job):
    with process(BUSY, job(0)) as gone, process(WAITS.format(timeout=60), job(1)) as waiter:
        gone.stdout.readline()
        time.sleep(1.5)  # time to be seen
        gone.kill()
        gone.wait()
        said = ending_of(waiter, 20)
    assert "MPI cannot come up: rank 0 has ended before it was through with dg.init" in said


def test_a_rank_of_which_nothing_is_seen_is_named_with_what_that_may_mean(job):
    with process(WAITS.format(timeout=1), job(1)) as waiter:
        said = ending_of(waiter, 30)
    assert "rank 0, 2 is not among the processes of this host: it has ended, or runs on" in said


def test_the_message_shows_where_the_rank_waits(job):
    with process(WAITS.format(timeout=0.5), job(1)) as waiter:
        said = ending_of(waiter, 30)
    assert '[rank 1/3]   File "<string>", line 5, in <module>' in said


def test_a_long_wait_is_told_before_it_is_over(job):
    code = WAITS.replace("{timeout})", "{timeout}, 0.4)")
    with process(code.format(timeout=2), job(1)) as waiter:
        said = ending_of(waiter, 30)
    told = r"\[rank 1/3\] has waited \d+ s for MPI to come up: rank 0, 2 is not among"
    assert re.match(told, said)
    assert said.count("has waited") == 1


def test_where_the_process_table_is_not_to_be_seen_the_time_is_up_all_the_same(job):
    hidden = "\nfrom distgrad.comm import neighbours\nneighbours._TABLE /= 'nonexistent'\nwith"
    code = WAITS.replace("\nwith", hidden)
    with process(code.format(timeout=1), job(1)) as waiter:
        said = ending_of(waiter, 20)
        assert waiter.returncode == 1
    assert "MPI has not come up within 1 s: rank 0, 2 is not among" in said
    assert "Exception in thread" not in said


@pytest.mark.parametrize(
    "launcher", [x for x in launchers.LAUNCHERS if x.mpi], ids=lambda x: x.rank
)
def test_the_ranks_of_every_launcher_that_knows_mpi_are_watched(launcher):
    me = identity({launcher.rank: "2"}, parent=7)
    assert me is not None
    assert (me.variable, me.rank) == (launcher.rank, 2)


def test_ctrl_c_is_not_kept_waiting(job):
    code = WAITS.replace("    time.sleep(30)", "    print('in', flush=True); time.sleep(30)")
    with process(code.format(timeout=60), job(1)) as waiter:
        assert waiter.stdout.readline() == "in\n"
        waiter.send_signal(signal.SIGINT)
        assert waiter.wait(10) == -signal.SIGINT


def test_who_is_through_in_time_is_left_alone_and_has_its_handlers_back(job, monkeypatch):
    for name, value in job(1).items():
        monkeypatch.setenv(name, value)
    with arrival.watch(3, 0.3):
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    time.sleep(0.6)


def test_a_process_of_another_job_is_no_neighbour(job):
    another = {**job(2), "PMIX_NAMESPACE": "another"}
    with process(BUSY, job(0)) as one, process(BUSY, another) as other:
        one.stdout.readline()
        other.stdout.readline()
        found = neighbours(identity(job(1)))
        assert [(n.pid, n.rank) for n in found] == [(one.pid, 0)]


def test_without_a_name_for_the_job_ranks_have_their_starter_in_common(job):
    def hydra(rank):
        return {k: v for k, v in os.environ.items() if "PMIX" not in k} | {"PMI_RANK": str(rank)}

    with process(BUSY, hydra(2)) as one:
        one.stdout.readline()
        me = identity(hydra(0), parent=os.getpid())
        assert [(n.pid, n.rank) for n in neighbours(me)] == [(one.pid, 2)]
        assert neighbours(identity(hydra(0), parent=1)) == []


def test_what_mpichs_rank_has_started_is_told_from_a_rank_by_the_socket_it_lacks(monkeypatch):
    me = identity({"PMI_RANK": "1"}, parent=7)
    monkeypatch.setenv(arrival._TAKEN, "17 started by 5/1")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setenv("PMI_FD", str(ours.fileno()))
        arrival._refuse_children(me)  # a rank of a job that the rank has started
    with pytest.raises(LaunchError, match=r"started by rank 1 \(process 17\)"):
        arrival._refuse_children(me)
    with open(os.devnull, "rb") as file:
        monkeypatch.setenv("PMI_FD", str(file.fileno()))
        with pytest.raises(LaunchError, match=r"started by rank 1 \(process 17\)"):
            arrival._refuse_children(me)
