"""Where a step's time goes: what is counted of collectives and steps."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from training import alone, build, simulated

import distgrad as dg
from distgrad import optim
from distgrad.comm.times import Times, kind_of
from distgrad.nn import functional as F
from distgrad.observe import TimeSplit
from distgrad.observe.time import Shares, split
from distgrad.parallel import hooks
from distgrad.parallel.local_sgd import DiLoCo, PeriodicModelAverager

# -- the counters -------------------------------------------------------------------------------


def test_a_kind_of_collective_has_neither_name_nor_root_nor_size():
    assert kind_of("all_reduce 'layer.weight' float64 x 100") == "all_reduce"
    assert kind_of("tree all_reduce 'w' float32 x 3, 4 shards") == "tree all_reduce"
    assert kind_of("broadcast from 2 'w'") == "broadcast"


def test_waiting_ends_when_all_have_arrived_and_transfer_begins():
    times, now = Times(), time.perf_counter()
    times.held_up("all_reduce 'a' float64 x 3", now - 10.0, now - 4.0)
    assert (times.waiting, times.transfer) == pytest.approx((6.0, 4.0), abs=0.5)
    times.held_up("all_reduce 'b' float64 x 3", now - 2.0, now - 5.0)  # all had come before
    assert (times.waiting, times.transfer) == pytest.approx((6.0, 6.0), abs=0.5)
    assert times.kinds["all_reduce"].count == 2


def test_time_under_way_is_counted_once_however_many_collectives_overlap():
    times = Times()
    begun = time.perf_counter()
    times.one_more()
    times.one_more()
    times.one_less()
    time.sleep(0.02)
    assert times.under_way(time.perf_counter()) >= 0.02
    times.one_less()
    total = times.under_way(time.perf_counter())
    assert 0.02 <= total <= time.perf_counter() - begun
    assert times.under_way(time.perf_counter() + 5) == total


@pytest.mark.parametrize("nodes", [None, (3,), (2, 1)])
@pytest.mark.parametrize("schedule", [None, 1, 2])
def test_nothing_is_under_way_once_all_works_are_done(nodes, schedule):
    def body():
        comm = dg.init().comm
        rank = comm.rank
        large, small = np.full(100_000, rank + 1.0), np.arange(9.0) * (rank + 1)
        for _ in range(3):
            works = [comm.start_all_reduce(a, canonical=True) for a in (large, small)]
            comm.broadcast(np.ones(5))
            for work in reversed(works):
                work.wait()
        sending = comm.start_send(small, (rank + 1) % comm.size)
        comm.recv(np.empty(9), (rank - 1) % comm.size)
        sending.wait()
        times = comm.transport.state.times
        return times.under_way(0.0) == times.under_way(1e9) > 0

    assert all(simulated(3, body, schedule, nodes))


# -- steps --------------------------------------------------------------------------------------


def training(batches, *, wrap=None, accumulate=1, ends=None, around=TimeSplit):
    """Train in the bare loop inside a split; return it."""
    dg.init()
    dg.manual_seed(3)
    model, _, _ = build("mlp")
    ddp = dg.DistributedDataParallel(model)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optimizer = optimizer if wrap is None else wrap(ddp, optimizer)
    x = np.random.default_rng(ddp.world.rank).normal(size=(4, 64)).astype(np.float32)
    y = np.arange(4) + ddp.world.rank
    with around(ddp) as watched:
        for batch in range(batches):
            if (batch + 1) % accumulate:
                with ddp.no_sync():
                    ddp.backward(F.cross_entropy(model(x), y))
                continue
            ddp.backward(F.cross_entropy(model(x), y))
            optimizer.step()
            optimizer.zero_grad()
            if batch == ends:
                raise ZeroDivisionError
    return watched


def averager(ddp, optimizer):
    ddp.register_comm_hook(hooks.PostLocalSGDState(), hooks.post_localSGD_hook)
    return dg.parallel.PostLocalSGDOptimizer(optimizer, PeriodicModelAverager(3))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    ("batches", "options", "steps"),
    [
        (12, {}, 10),
        (24, {"accumulate": 2}, 10),  # one step for two batches
        (12, {"wrap": averager}, 10),
        (12, {"wrap": lambda ddp, o: DiLoCo(ddp, o, every=4)}, 10),
        (2, {}, 0),
    ],
)
def test_a_step_ends_where_gradients_are_summed_and_the_first_two_do_not_count(
    size, batches, options, steps
):
    def body():
        watched = training(batches, **options)
        share = watched.shares.ranks[watched.world.rank]
        assert share.seconds >= share.held_up >= 0
        return [share.steps for share in watched.shares.ranks], bool(watched.summary())

    assert simulated(size, body) == [([steps] * size, steps > 0)] * size


def test_what_has_no_steps_cannot_be_split():
    with pytest.raises(dg.DistgradError, match=r"a World, with split\.step.*got a Linear"):
        TimeSplit(dg.nn.Linear(2, 3))


def test_what_is_paused_is_left_out():
    def body():
        with TimeSplit(dg.init()) as watched:
            for _ in range(4):
                with watched.paused():
                    time.sleep(0.1)
                watched.step()
        return watched.last.seconds

    assert 0.0 < alone(body) < 0.1


def test_a_world_of_one_is_told_what_it_computes_and_reads():
    lone = alone(lambda: training(5))
    assert re.fullmatch(r"time: .* a step: compute 100%, reading data 0%", lone.summary())
    assert len(lone.table().splitlines()) == 2


def test_a_loop_that_raised_has_no_summary():
    def body():
        kept = []

        def around(ddp):
            kept.append(TimeSplit(ddp))
            return kept[0]

        with pytest.raises(ZeroDivisionError):
            training(5, ends=3, around=around)
        return kept[0].summary()

    assert simulated(2, body) == ["", ""]


class Slow(dg.data.Dataset):
    """Samples of which each takes a while to come."""

    def __getitem__(self, index):
        time.sleep(0.01)
        return np.full(3, index, np.float32), index % 2

    def __len__(self):
        return 12


class Stream(dg.data.IterableDataset):
    """The same as a stream."""

    def __iter__(self):
        return (Slow()[i] for i in range(12))


@pytest.mark.parametrize("data", [Slow, Stream])
@pytest.mark.parametrize("form", ["global_batch_size", "batch_size"])
def test_what_the_loop_waits_for_its_loader_is_reading_data(data, form):
    def body():
        times = dg.init().comm.transport.state.times
        for part in dg.data.DataLoader(data(), **{form: 3}):
            time.sleep(0.05)  # the loop's own time
            if form == "global_batch_size":
                assert len([*part.shards]) == 1
        return times.data

    assert 0.12 <= alone(body) < 0.3


def test_steps_are_told_to_a_split_of_a_world():
    def body():
        world = dg.init()
        with TimeSplit(world) as watched:
            for _ in range(7):
                world.comm.all_reduce(np.ones(3), name="mine")
                watched.step()
        return [s.steps for s in watched.shares.ranks], watched.table().splitlines()

    for steps, table in simulated(3, body, schedule=1):
        assert steps == [5, 5, 5]
        assert [line.split()[0] for line in table[:4]] == ["rank", "0", "1", "2"]
        assert all("all_reduce" in line for line in table[4:])


def test_who_is_slow_is_said_once_until_somebody_else_is(monkeypatch):
    monkeypatch.setattr(split, "STEPS", 5)
    monkeypatch.setattr(split, "SECONDS", 0.0)
    monkeypatch.setattr(split, "_ENOUGH", 0.0)
    slow = [{}, {1: 0.5}, {1: 0.4}, {0: 0.5}, {}, {1: 0.5}]
    turn = {}

    def accused(table):
        key = tuple(table.ranks)  # the same table on all ranks
        return turn.setdefault(key, slow[len(turn)] if len(turn) < len(slow) else {})

    monkeypatch.setattr(Shares, "slow", accused)

    def body():
        world, said = dg.init(), []
        with TimeSplit(world, say=said.append) as watched:
            for _ in range(2 + 5 * len(slow)):
                watched.step()
        return said

    first, second = simulated(2, body)
    assert [text[:6] for text in first] == ["rank 1", "rank 0", "rank 1"]
    assert all(text.endswith("(the last 5 steps)") for text in first)
    assert second == []
