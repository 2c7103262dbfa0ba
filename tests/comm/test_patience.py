"""Ranks that wait ask each other a bounded number of times, and one tells what they learn."""

import sys

import numpy as np
import pytest

from distgrad.comm import Communicator, connect, guard, patience, rank_state, stacks
from distgrad.comm.patience import Patience
from distgrad.comm.rank_state import RankState
from distgrad.comm.worlds.local import LocalTransport
from distgrad.errors import CommError, CommTimeoutError


class Wire:
    """The transport of one of several ranks; what it announces reaches the others at once."""

    def __init__(self, rank, wires):
        self.state, self.wires = RankState(rank, len(wires)), wires
        self.announced, self.roll_calls = 0, 0

    def announce(self, notice, to=None):
        self.announced += notice.kind == "waiting"
        self.roll_calls += notice.kind == "where"
        for wire in self.wires:
            if wire is not self and to in (None, wire.state.rank):
                wire.state.hear(notice)


class Job:
    """Ranks that wait in one collective, on a clock of their own."""

    def __init__(self, monkeypatch, size, waits_for, begun=None):
        self.now, self.told, self.errors = 1000.0, [], {}
        for module in (patience, rank_state, stacks):
            monkeypatch.setattr(module, "perf_counter", lambda: self.now)
        monkeypatch.setattr(guard, "say", lambda text, label: self.told.append((label, text)))
        self.wires = [None] * size
        self.wires[:] = [Wire(rank, self.wires) for rank in range(size)]
        self.waits_for = waits_for
        self.begun = {rank: self.now + (begun or {}).get(rank, 0.0) for rank in waits_for}
        self.waits = {r: Patience(self.wires[r], "collective 7 (x)", 300.0) for r in waits_for}

    def go_on(self, seconds):
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            for rank, wait in self.waits.items():
                idle = self.now - self.begun[rank]
                if idle > 0 and rank not in self.errors:
                    try:
                        wait.idle(idle, lambda rank=rank: set(self.waits_for[rank]))
                    except CommTimeoutError as error:
                        self.errors[rank] = error


def around(size):
    """Each rank waits for its left neighbour; rank 0 does not come."""
    return {rank: {rank - 1} for rank in range(1, size)}


@pytest.mark.parametrize("size", [3, 40])
def test_ranks_that_wait_ask_once_and_answer_without_asking_back(monkeypatch, size):
    job = Job(monkeypatch, size, around(size))
    job.go_on(290)
    assert {wire.announced for wire in job.wires[1:]} <= {1, 2}
    assert sum(wire.roll_calls for wire in job.wires) == 1


def test_ranks_that_come_one_by_one_answer_together_all_who_ask_at_a_time(monkeypatch):
    size = 40
    job = Job(monkeypatch, size, around(size), begun={r: 0.02 * r for r in range(size)})
    job.go_on(290)
    assert max(wire.announced for wire in job.wires) <= 4


@pytest.mark.parametrize("waits_for", [around(5), {rank: {0} for rank in range(1, 5)}])
def test_one_rank_that_waits_for_the_culprit_itself_warns_and_speaks_first(monkeypatch, waits_for):
    job = Job(monkeypatch, 5, waits_for)
    job.go_on(40)
    assert [label for label, _ in job.told] == ["[rank 1/5]"]
    assert "has waited 30 s: rank 0 does not answer" in job.told[0][1]
    job.go_on(300)
    assert len(job.told) == 2  # before it gives up it shows once more where all are
    assert job.told[1][1].startswith("rank 0 did not answer\n")
    assert list(job.errors) == [1, 2, 3, 4]
    at_once = [r for r, e in job.errors.items() if e is not job.wires[r].state.peer_error]
    assert at_once == [1]
    assert all("rank 0 does not answer" in str(e) for e in job.errors.values())


def test_of_ranks_that_wait_for_each_other_one_speaks(monkeypatch):
    job = Job(monkeypatch, 3, {0: {1}, 1: {2}, 2: {0}})
    job.go_on(40)
    [(label, text)] = job.told
    assert label == "[rank 0/3]"
    assert "rank 1 in collective 7 (x), rank 2 in collective 7 (x)" in text


def test_a_rank_whose_time_is_up_does_not_leave_it_to_one_that_came_later(monkeypatch):
    job = Job(monkeypatch, 3, {1: {0}, 2: {1}}, begun={1: 20.0})
    job.go_on(35)
    assert [label for label, _ in job.told] == ["[rank 2/3]"]
    assert "rank 0 does not answer" in job.told[0][1]


class Full:
    """The stream of a log whose disk is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    def flush(self):
        self.write("")


def test_a_message_that_nobody_can_read_ends_no_run(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Full())
    guard.say("has waited", "[rank 0/2]")


@pytest.mark.parametrize("timeout", [0, -1.0, np.nan])
def test_a_timeout_that_is_no_time_is_refused(timeout):
    for make in (
        lambda: Communicator(LocalTransport(), timeout=timeout),
        lambda: connect(timeout=timeout),
    ):
        with pytest.raises(CommError, match=r"more than 0 seconds to come; math.inf waits"):
            make()
