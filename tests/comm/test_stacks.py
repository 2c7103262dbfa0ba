"""A rank that waits for long shows where in their code all are, the missing one first."""

import re
import threading
from pathlib import Path

import pytest
from jobs import run_job

import distgrad as dg
from distgrad.comm import neighbours, run_ranks, stacks
from distgrad.comm.listener import Listener
from distgrad.comm.rank_state import Notice, RankState
from distgrad.comm.stacks import RollCall, answers, spelled
from distgrad.errors import CommError, LaunchError

JOB = Path(__file__).parent / "jobs" / "silent.py"
WARN = 1.5


def run(ranks, how, culprit, warn=WARN, timeout=30.0):
    return run_job(ranks, JOB, how, str(culprit), str(warn), str(timeout))


@pytest.mark.parametrize(
    ("how", "line", "ranks"),
    [
        ("sleeps", "time.sleep(SECONDS)", 2),
        ("sleeps", "time.sleep(SECONDS)", 3),
        ("computes", "in computes", 3),
    ],
)
def test_a_long_wait_shows_the_line_of_the_rank_that_is_missing(how, line, ranks):
    done = run(ranks, how, 0)
    assert done.status == 0, done.err
    assert re.search(
        rf"^\[rank 1/{ranks}\] collective \d+ \(all_reduce 'w' float64 x 100\) has waited 2 s: "
        r"rank 0 is busy elsewhere \(seen \d s ago in collective \d+ \(barrier\)",
        done.err,
        re.M,
    )
    assert done.err.count("has waited") == 1
    mine, _, others = done.err.partition(" here:\n")[2].partition(" here:\n")
    assert line in mine
    assert 'world.comm.all_reduce(np.zeros(100), name="w")' in others
    waiting = "rank 1 waits in" if ranks == 2 else "ranks 1-2 wait in"
    assert f"{waiting} collective" in mine


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("is_stopped", r"process \d+ is stopped: `kill -CONT \d+` lets it go on"),
        ("keeps_the_lock", r"process \d+ sleeps \(state S\)"),
    ],
)
def test_of_a_rank_that_cannot_answer_the_process_table_tells(how, said):
    done = run(2, how, 1)
    assert done.status == 0, done.err
    assert "rank 1 does not answer" in done.err
    assert re.search(rf"^\[rank 0/2\] rank 1 cannot tell where it is: {said}", done.err, re.M)


def test_of_ranks_in_different_collectives_both_stacks_are_shown_and_the_end_shows_them_again():
    # Long times: on a busy machine no rank's time is up before the first has shown all.
    done = run(3, "is_in_another_collective", 1, warn=3.0, timeout=6.0)
    assert done.status != 0
    for told in done.err.split("CommTimeoutError: ")[0].split("Traceback")[:1]:
        assert told.count('other.all_reduce(np.zeros(3), name="other")') == 2  # warning and end
        assert told.count("ranks 0, 2 wait in collective") == 2


def test_where_the_time_is_up_before_the_warning_the_stacks_come_with_the_error():
    done = run_job(3, JOB, "hangs", "2", "30", "3")
    assert done.status != 0
    before, _, error = done.err.partition("Traceback (most recent call last)")
    assert "rank 2 is here:" in before
    assert "threading.Event().wait()" in before
    assert "made no progress for 3 s: rank 2 is busy elsewhere" in error


def test_ranks_that_are_through_show_where_the_last_one_is():
    done = run(3, "comes last", 2)
    assert done.status == 0, done.err
    assert done.err.count("has finished and waits for rank 2 to finish as well") == 1
    assert "[rank 0/3] rank 2 is here:" in done.err
    assert "time.sleep(SECONDS)" in done.err


class Wire:
    """A transport whose answers are put into the state by the test."""

    def __init__(self, rank, size):
        self.state, self.sent = RankState(rank, size), []

    def announce(self, notice, to=None):
        self.sent.append((notice, to))


def test_of_a_thousand_ranks_a_few_different_stacks_are_printed():
    wire = Wire(1, 1000)
    call = RollCall(wire, [0, 7])
    for rank in [*range(2, 7), *range(8, 1000)]:
        text = f"  File 'x{rank if rank > 970 else ''}', line 3, in f"
        wire.state.hear(Notice(rank, "here", {}, text))
    wire.state.hear(Notice(0, "here", {}, "  File 'busy', line 9, in g"))
    waiting = {rank: "collective 3 (barrier)" for rank in range(1, 1000) if rank != 7}
    lines = call.report(waiting).split("\n")
    assert lines[:3] == ["rank 7 did not answer", "rank 0 is here:", "  File 'busy', line 9, in g"]
    assert "ranks 2-6, 8-970 wait in collective 3 (barrier) here:" in lines
    assert lines[-1].startswith("ranks 97")
    assert lines[-1].endswith("-999 elsewhere")
    assert len(lines) < 60


def test_a_rank_answers_each_that_asks_once_and_tells_what_its_host_knows(monkeypatch):
    monkeypatch.setattr(neighbours, "describe", lambda ranks: {r: f"process of {r}" for r in ranks})
    state = RankState(2, 4)
    state.hear(Notice(0, "where", {}, waits_for=[3]))
    state.hear(Notice(1, "where", {}, waits_for=[2]))
    told = dict(answers(state))
    assert set(told) == {0, 1}
    assert all("in test_a_rank_answers_each" in notice.text for notice in told.values())
    assert told[0].seen == {"3": "process of 3"}
    assert told[1].seen == {}  # it is the silent one: it need not look for itself
    assert not list(answers(state))


def test_a_deep_stack_is_cut_at_its_outer_end():
    def deep(n):
        return deep(n - 1) if n else stacks.own()

    told = deep(50)
    assert re.match(r"  \(\d+ outer calls\)\n", told)
    assert "in deep" in told
    assert told.count("\n") < 30


def test_threads_of_the_user_are_shown_beside_the_main_one():
    ends = threading.Event()

    def loads():
        ends.wait()

    thread = threading.Thread(target=loads, name="loading")
    thread.start()
    try:
        assert re.search(r"  thread loading:\n(.*\n)*.*in loads", stacks.own())
    finally:
        ends.set()
        thread.join()


def test_ranks_are_spelled_as_runs():
    assert spelled([3]) == "rank 3"
    assert spelled([4, 0, 1, 2, 6, 7]) == "ranks 0-2, 4, 6-7"


def test_the_listener_looks_once_a_period_and_stops_when_told(monkeypatch):
    monkeypatch.setattr("distgrad.comm.listener.PERIOD", 0.01)
    thrice, seen = threading.Event(), []

    def listen(now, period):
        seen.append(period)
        if len(seen) == 3:
            thrice.set()

    listener = Listener(listen)
    listener.start()
    assert thrice.wait(20)
    listener.stop()
    count = len(seen)
    assert not thrice.wait(0) or len(seen) == count
    assert set(seen) == {0.01}


@pytest.mark.parametrize("warn_after", [0, -1.0, float("nan")])
def test_a_warning_that_no_wait_can_reach_is_refused(warn_after):
    with pytest.raises(CommError, match=r"warn_after=.* more than 0, .* math.inf says nothing"):
        run_ranks(1, lambda: dg.comm.connect(warn_after=warn_after))


def test_a_second_init_with_another_warning_is_refused():
    def body():
        assert dg.init(warn_after=5.0).comm.transport.state.warn_after == 5.0
        dg.init()
        with pytest.raises(LaunchError, match=r"warn_after=6.0\) after a world with warn_after=5"):
            dg.init(warn_after=6.0)

    run_ranks(2, body)
