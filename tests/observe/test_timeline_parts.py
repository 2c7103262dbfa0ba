"""What a timeline is made of: spans from notes, clocks that are compared, words from totals."""

from __future__ import annotations

import time

import pytest
from training import simulated

import distgrad as dg
from distgrad import nn
from distgrad.observe.time.table import Share, Shares
from distgrad.observe.timeline import clock
from distgrad.observe.timeline.clock import Clock, Offset
from distgrad.observe.timeline.lines import Line, lines
from distgrad.observe.timeline.spans import Flight, flights, spans
from distgrad.observe.timeline.summary import Summary
from distgrad.observe.timeline.totals import Totals, totals
from distgrad.observe.timeline.tracer import (
    BACK,
    BACK_END,
    BEGIN,
    END,
    ENTER,
    FLIGHT,
    LEAVE,
    SPAN,
    WALK,
    WALK_END,
    Step,
)

MODEL = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
OUTER, INNER = MODEL, MODEL[0]


def shown(found):
    return [(s.kind, s.name, s.begun, s.ended, s.depth, s.own) for s in found]


# -- spans --------------------------------------------------------------------------------------


def test_spans_lie_in_each_other_and_own_what_is_in_no_other():
    notes = [
        (ENTER, OUTER, 1, 1.0),
        (ENTER, INNER, 2, 2.0),
        (LEAVE, INNER, 3, 5.0),
        (LEAVE, OUTER, 4, 9.0),
    ]
    assert shown(spans(notes)) == [
        ("forward", "Sequential", 1.0, 9.0, 0, 5.0),
        ("forward", "0 (Linear)", 2.0, 5.0, 1, 3.0),
    ]


def test_what_has_lost_its_beginning_or_has_no_end_is_left_out():
    notes = [
        (LEAVE, INNER, 1, 1.0),
        (END, 2.0),
        (ENTER, OUTER, 3, 3.0),
        (ENTER, INNER, 4, 4.0),
        (BEGIN, "optimizer", "SGD", 5.0),
        (END, 6.0),
        (LEAVE, OUTER, 5, 7.0),
        (WALK, "token", 8.0),
        (BEGIN, "clipping", "", 8.5),
    ]
    kinds = [(s.kind, s.begun, s.ended) for s in spans(notes)]
    assert kinds == [("forward", 3.0, 7.0), ("optimizer", 5.0, 6.0)]


def test_the_layers_of_backward_lie_in_its_walk():
    notes = [
        (WALK, "token", 1.0),
        (BACK, OUTER, 2.0),
        (BACK, INNER, 3.0),
        (BACK_END, INNER, 4.0),
        (BACK_END, OUTER, 5.0),
        (WALK_END, "token", 7.0),
    ]
    assert shown(spans(notes)) == [
        ("backward", "", 1.0, 7.0, 0, 3.0),
        ("backward", "Sequential", 2.0, 5.0, 1, 2.0),
        ("backward", "Linear", 3.0, 4.0, 2, 1.0),
    ]


def test_a_wait_that_had_begun_before_what_it_is_waited_for_in_is_cut_there():
    notes = [
        (BEGIN, "reduction", "", 2.0),
        (SPAN, "waiting", "all_reduce 'a' float32 x 3", 1.0, 5.0),
        (SPAN, "transfer", "all_reduce 'a' float32 x 3", 5.0, 6.0),
        (END, 7.0),
    ]
    assert [(s.kind, s.begun, s.ended, s.depth, s.own) for s in spans(notes)] == [
        ("waiting", 1.0, 2.0, 0, 1.0),
        ("reduction", 2.0, 7.0, 0, 1.0),
        ("waiting", 2.0, 5.0, 1, 3.0),
        ("transfer", 5.0, 6.0, 1, 1.0),
    ]


@pytest.mark.parametrize(
    ("what", "nbytes"),
    [
        ("all_reduce 'bucket 0 (0.weight … 2.bias)' float32 x 1000", 4000),
        ("tree all_reduce 'w, float64 x 9' float64 x 3, 4 shards", 24),
        ("share once float64 x 3 x 2 int8 x 1 x 1", 24),
        ("barrier", 0),
    ],
)
def test_a_collective_has_the_bytes_of_its_array(what, nbytes):
    (flight,) = flights([(SPAN, "data", "", 0.0, 1.0), (FLIGHT, "world", 7, what, 1.0, 3.0)])
    assert flight == Flight("world", 7, what, 1.0, 3.0)
    assert flight.nbytes == nbytes


# -- totals -------------------------------------------------------------------------------------


def step(number, *notes):
    return Step(number, 10.0 * number, 10.0 * number + 10.0, notes)


def test_what_an_evaluation_does_is_evaluation_and_the_rest_of_a_step_is_other():
    notes = [
        (BEGIN, "evaluation", "", 1.0),
        (SPAN, "data", "", 2.0, 3.0),
        (END, 4.0),
        (SPAN, "data", "", 4.0, 6.0),
        (ENTER, INNER, 1, 6.0),
        (SPAN, "op", "linear", 6.5, 7.0),
        (LEAVE, INNER, 2, 7.0),
        (FLIGHT, "world", 1, "barrier", 1.0, 3.0),
        (FLIGHT, "world", 2, "barrier", 2.0, 4.0),
    ]
    found = totals([step(0, *notes)])
    assert found.kinds == {"evaluation": 3.0, "data": 2.0, "forward": 1.0}
    assert found.other == 4.0
    assert found.layers == {"Linear": (1.0, 0.0)}
    assert found.ops == {"linear": (1, 0.5)}
    assert found.under_way == 3.0


def test_the_first_two_steps_are_not_counted_if_there_are_five():
    made = [step(n, (SPAN, "data", "", 10.0 * n, 10.0 * n + n)) for n in range(5)]
    assert totals(made).kinds == {"data": 9.0}
    assert totals(made[:4]).kinds == {"data": 6.0}


# -- words --------------------------------------------------------------------------------------


def said(*kinds, timed=True, **columns):
    """What is first said of ranks that took 10 s for 100 steps."""
    ranks = [Totals(100, 10.0, dict(k), {"0 (Linear)": (1.0, 2.0)}) for k in kinds]
    more = [{name: column[r] for name, column in columns.items()} for r in range(len(kinds))]
    shares = [
        Share(
            **{"host": f"host{r}", "steps": 100, "seconds": 10.0, "transfer": 0.0, "hidden": 0.0}
            | {name: k.get(name, 0.0) for name in ("waiting", "data")}
            | m
        )
        for r, (k, m) in enumerate(zip(kinds, more, strict=True))
    ]
    return Summary(ranks, Shares(tuple(shares)), timed=timed).advice()


FULL = {"forward": 5.0, "backward": 4.0, "waiting": 0.5}
QUICK = {"forward": 2.0, "backward": 2.0, "waiting": 5.5}


def test_of_a_slow_rank_it_is_said_what_it_does_longer():
    assert said(QUICK, FULL, QUICK).startswith(
        "ranks 0, 2 wait 50% of the time for rank 1's forward, which takes 30 ms a step longer "
        "than theirs: see what else runs on host host1"
    )
    assert said(QUICK, FULL, FULL, host="aaa", cores=("0", "1", "1")) == (
        "rank 0 waits 50% of the time for the forward of ranks 1-2, which takes 30 ms a step "
        "longer than theirs: ranks 1-2 share core 1: bind them apart"
    )
    reads = {"forward": 2.0, "backward": 2.0, "data": 5.0, "waiting": 0.5}
    assert said(QUICK, reads).endswith(
        "give its DataLoader workers (num_workers=2), or bring its data nearer"
    )
    assert said(QUICK, FULL, QUICK, threads=(2, 1, 2)).endswith(
        "than theirs: it computes with 1 thread, the others with 2"
    )


@pytest.mark.parametrize(
    ("kind", "cure"),
    [("data", "num_workers=2"), ("evaluation", "evaluate_every"), ("transfer", "larger batches")],
)
def test_what_takes_long_on_all_ranks_has_a_cure(kind, cure):
    alike = {"forward": 4.0, "backward": 3.0, kind: 3.0}
    assert "takes 30% of the time" in said(alike, alike)
    assert cure in said(alike, alike)


def test_where_nothing_stands_out_the_largest_layer_is_named():
    alike = {"forward": 5.0, "backward": 5.0}
    assert said(alike) == "nothing stands out; of the layers 0 (Linear) takes most, 30% of the time"


def test_simulated_ranks_are_not_accused():
    assert said(QUICK, FULL, QUICK, timed=False).startswith("nothing stands out")


# -- clocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hosts", ["aab", "abc", "aba"])
def test_each_clock_is_compared_with_rank_0s(hosts):
    shift = {"a": 0.0, "b": 5.0, "c": -3.0}

    def body():
        world = dg.init()
        mine = hosts[world.rank]
        return clock.measure(world.comm, mine, lambda: time.perf_counter() + shift[mine])

    for host, found in zip(hosts, simulated(3, body, schedule=1), strict=True):
        assert found.offset == pytest.approx(-shift[host], abs=found.error + 1e-9)
        assert found.error < 0.1
        assert (found.error == 0.0) == (host == "a")


def test_between_two_comparisons_a_clock_is_interpolated():
    drifting = Clock(Offset(100.0, 5.0, 1e-4), Offset(200.0, 5.1, 2e-4))
    assert drifting.aligned(100.0) == pytest.approx(105.0)
    assert drifting.aligned(150.0) == pytest.approx(155.05)
    assert drifting.aligned(200.0) == pytest.approx(205.1)
    assert drifting.error == 2e-4
    once = Offset(100.0, 5.0, 0.0)
    assert Clock(once, once).aligned(7.0) == 12.0


def test_this_machine_has_one_clock_whoever_asks():
    assert clock.identity("a") == clock.identity("b")


# -- lines --------------------------------------------------------------------------------------


def test_collectives_that_are_in_flight_at_once_have_lanes_of_their_own():
    notes = [
        (FLIGHT, "world", 1, "all_reduce 'a' float32 x 3", 1.0, 4.0),
        (FLIGHT, "world", 2, "all_reduce 'b' float32 x 3", 2.0, 3.0),
        (FLIGHT, "world", 3, "all_reduce 'c' float32 x 3", 3.0, 5.0),
        (SPAN, "waiting", "all_reduce 'b' float32 x 3", 2.5, 3.0),
    ]
    still = Clock(Offset(0.0, 100.0, 0.0), Offset(1.0, 100.0, 0.0))
    found = [*lines([step(0, *notes)], still, 100.0)]
    assert [(line.lane, line.name.split("'")[1], line.start) for line in found if line.lane] == [
        (1, "a", 1.0),
        (2, "b", 2.0),
        (2, "c", 3.0),
    ]
    (wait,) = [line for line in found if line.kind == "waiting"]
    assert wait.key == ("world", 2)
    assert [Line.of_json(line.as_json()) for line in found] == found
