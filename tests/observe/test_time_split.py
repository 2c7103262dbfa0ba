"""Where a step's time goes, and who holds the others up: the numbers, and real jobs."""

from __future__ import annotations

import os
import re
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jobs import run_job
from training import alone, build, simulated

import distgrad as dg
from distgrad import optim
from distgrad.comm import connect
from distgrad.comm.times import Times, kind_of
from distgrad.nn import functional as F
from distgrad.observe import TimeSplit
from distgrad.observe.time import Share, Shares, network, split
from distgrad.observe.time.table import host_rates, network_accusation, slow_hosts
from distgrad.parallel import hooks
from distgrad.parallel.local_sgd import DiLoCo, PeriodicModelAverager

JOB = Path(__file__).parent / "jobs" / "sleepy.py"


def shares(*computing, seconds=10.0, transfer=0.5, hosts="abcdefgh"):
    """Ranks that take as long together and compute so many seconds of it, in 100 steps."""
    return Shares(
        tuple(
            Share(host, 100, seconds, seconds - mine - transfer, transfer, 0.25)
            for mine, host in zip(computing, hosts, strict=False)
        )
    )


# -- the table --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("computing", "slow"),
    [
        ((5.0, 9.0), {1: 0.4}),
        ((9.0, 5.0, 5.5), {0: 0.35}),
        ((5.0, 5.0, 9.0, 8.0), {2: 0.4, 3: 0.3}),
        ((9.0, 9.0, 5.0), {}),  # most are: that is what the work takes
        ((5.0, 6.9, 5.0), {}),  # less than a fifth of the time
    ],
)
def test_a_rank_is_slow_that_computes_much_longer_than_most(computing, slow):
    assert shares(*computing).slow() == pytest.approx(slow)


def test_the_parts_of_a_ranks_time_add_up_and_transfer_is_what_nobody_is_without():
    table = shares(9.0, 5.0, 7.0)
    first, second, _ = (table.of(share)[:3] for share in table.ranks)
    assert first == pytest.approx((0.9, 0.05, 0.05))
    assert second == pytest.approx((0.5, 0.45, 0.05))
    # One that waits less in all than others call transfer waits for nobody.
    ring = Shares((Share("a", 1, 10.0, 0.0, 1.0, 0.0), Share("b", 1, 10.0, 0.0, 6.0, 0.0)))
    assert ring.of(ring.ranks[1]) == pytest.approx((0.4, 0.5, 0.1, 0.0))


def test_the_accusation_names_the_ranks_their_host_and_what_it_costs():
    assert shares(5.0, 5.0, 9.0).accusations() == [
        "rank 2 (host c) is slow: 90 ms of computing a step, 50 ms on the others: "
        "40% of the time is lost to it"
    ]
    (several,) = shares(5.0, 8.0, 5.0, 9.0, hosts="abbb").accusations()
    assert several.startswith("ranks 1, 3 (host b) are slow: 90 ms of computing a step, 50 ms on")
    assert shares(5.0, 5.0, 5.0).accusations() == []


def changed(table, **columns):
    """The same ranks, each with its entry of every column."""
    rows = [
        replace(share, **{name: column[rank] for name, column in columns.items()})
        for rank, share in enumerate(table.ranks)
    ]
    return Shares(tuple(rows))


def test_reading_data_is_no_computing_and_a_rank_that_reads_slowly_is_told_so():
    table = changed(shares(5.0, 9.0, 5.0), data=(0.1, 4.0, 0.2))
    assert table.of(table.ranks[1]) == pytest.approx((0.5, 0.05, 0.05, 0.4))
    assert table.slow_readers() == table.slow() == pytest.approx({1: 0.4})
    assert table.accusations() == [
        "rank 1 (host b) reads data slowly: 40 ms a step, the others 2 ms: 40% of the time is "
        "lost to it; look at where its data lies, or let workers read ahead: "
        "DataLoader(…, num_workers=2)"
    ]
    assert "compute 49%, reading data 14%, waiting" in table.described()


def test_of_two_slow_ranks_one_computes_long_and_the_other_reads_long():
    table = changed(shares(5.0, 9.0, 5.0, 8.0, 5.0), data=(0.0, 4.0, 0.0, 0.1, 0.0))
    computes, reads = table.accusations()
    assert computes.startswith("rank 3 (host d) is slow: 79 ms of computing a step, 50 ms on")
    assert reads.startswith("rank 1 (host b) reads data slowly: 40 ms a step, the others 0 ms")


def test_reading_that_takes_long_on_all_ranks_is_nobodys_fault_and_has_a_cure():
    table = changed(shares(9.0, 9.0, 9.0), data=(4.0, 4.0, 5.0))
    assert table.slow() == {}
    assert table.accusations() == [
        "reading data takes 40 ms of a step, 40% of the time: let workers read ahead: "
        "DataLoader(…, num_workers=2)"
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"threads": (2, 1, 2)}, "it computes with 1 thread, the others with 2"),
        ({"cores": ("0-3", "0-1", "4-7")}, "it computes with 2 cores, the others with 4"),
        ({"threads": (2, 1, 2), "cores": ("0", "0-3", "0")}, "it computes with 1 thread, the"),
        ({"threads": (2, 2, 2), "cores": ("0-1", "0-1", "0-1")}, ""),
        ({"threads": (2, 2, 2), "cores": ("0-1", "0", "0-1")}, "rank 1 has 2 threads on 1 core:"),
        ({"threads": (1, 2, 1)}, ""),
        ({"threads": (2, 0, 2)}, ""),  # nobody knows
        ({"threads": (4, 1, 2)}, ""),
    ],
)
def test_a_slow_rank_with_fewer_threads_or_cores_than_the_others_is_told_so(columns, said):
    (text,) = changed(shares(5.0, 9.0, 5.0), **columns).accusations()
    before, _, after = text.partition("; ")
    assert before.endswith("40% of the time is lost to it")
    assert after.startswith(said)
    assert bool(after) == bool(said)


def test_ranks_that_share_a_core_are_slow_even_if_they_are_most():
    places = {"host": "aaab", "cores": ("0", "1", "1", "0")}
    few = changed(shares(5.0, 9.0, 9.5), **{k: v[:3] for k, v in places.items()})
    assert few.slow() == pytest.approx({1: 0.4, 2: 0.45})
    assert few.accusations() == [
        "ranks 1-2 (host a) are slow: 95 ms of computing a step, 50 ms on the others: 45% of the "
        "time is lost to it; ranks 1-2 share core 1: bind them apart"
    ]
    assert changed(shares(5.0, 9.0, 9.5, 5.0), **places).slow() == few.slow()


def test_ranks_that_share_a_core_and_are_not_slow_are_no_excuse_for_another():
    busy = changed(shares(9.0, 5.0, 5.0), host="aaa", cores=("0", "1", "1"))
    assert busy.slow() == pytest.approx({0: 0.4})
    assert "share" not in busy.accusations()[0]


def test_of_two_stretches_of_time_the_sums_are_judged():
    both = shares(5.0, 9.0, 5.0).plus(shares(5.0, 5.0, 5.0, seconds=30.0, transfer=1.1))
    assert both.seconds == 40.0
    assert both.ranks[1].steps == 200
    assert both.slow() == {}
    assert both.described() == (
        "200 ms a step on ranks 0-2: compute 28%, waiting for others 68%, transfer 4% "
        "(2.5 ms of communication a step hidden under compute)"
    )


def test_the_network_matters_where_transfer_takes_long_between_three_hosts_or_more():
    assert shares(5.0, 5.0, 5.0, transfer=3.0).network_matters
    assert not shares(5.0, 5.0, 5.0, hosts="aab").network_matters  # of two nobody can say which
    assert not shares(9.0, 9.0, 9.0).network_matters


# -- the network --------------------------------------------------------------------------------


def pairs(rates):
    """Pairs as fast as the slower of the two hosts: every host with the three next ones."""
    hosts = [*rates]
    return {
        (a, hosts[(i + shift) % len(hosts)]): min(rates[a], rates[hosts[(i + shift) % len(hosts)]])
        for i, a in enumerate(hosts)
        for shift in (1, 2, 3)
        if shift < len(hosts)
    }


@pytest.mark.parametrize("count", [3, 4, 8])
def test_a_host_is_as_fast_as_its_fastest_pair(count):
    rates = {f"node{i}": 125e6 for i in range(count)} | {"node1": 12.5e6}
    assert host_rates(pairs(rates)) == rates
    assert slow_hosts(host_rates(pairs(rates))) == {"node1": 12.5e6}
    assert network_accusation(rates) == (
        "the network of host node1 is slow: 100 Mbit/s, the others' 1000; all ranks wait for what "
        "passes it"
    )


def test_a_host_that_is_slow_one_way_alone_is_as_slow_as_that():
    fast = pairs(dict.fromkeys("abc", 100e6))
    rates = host_rates({(a, b): 10e6 if b == "b" else rate for (a, b), rate in fast.items()})
    assert rates == {"a": 100e6, "b": 10e6, "c": 100e6}


def test_of_two_hosts_and_of_like_ones_none_is_slow():
    assert slow_hosts({"a": 1e6, "b": 100e6}) == {}
    assert slow_hosts({"a": 60e6, "b": 100e6, "c": 100e6}) == {}
    assert network_accusation({"a": 60e6, "b": 100e6, "c": 100e6}) == ""


@pytest.mark.parametrize("hosts", ["abc", "aabbc", "abcde"])
@pytest.mark.parametrize("schedule", [None, 1])
def test_the_network_test_gives_every_rank_the_same_rate_of_each_host(hosts, schedule):
    def body():
        return network.measure(dg.init().comm, hosts)

    found = simulated(len(hosts), body, schedule)
    assert {*found[0]} == {*hosts}
    assert all(rates == found[0] for rates in found)
    assert min(found[0].values()) > 0


def test_each_host_times_what_comes_from_the_three_before_it(monkeypatch):
    monkeypatch.setattr(network, "host_rates", dict)
    hosts = "abcde"
    for pairs in simulated(5, lambda: network._try(dg.init().comm, hosts)):
        assert {*pairs} == {(hosts[i - k], hosts[i]) for i in range(5) for k in (1, 2, 3)}


@pytest.mark.parametrize("slow", [1, 2, 9])
def test_a_host_that_seems_slow_is_tried_again_before_it_is_believed(monkeypatch, slow):
    tries = []

    def rates(comm, hosts):
        tries.append(hosts)
        return dict.fromkeys(hosts, 100e6) | {"b": 10e6 if len(tries) <= slow else 90e6}

    monkeypatch.setattr(network, "_try", rates)
    found = network.measure(None, "abc")
    assert len(tries) == min(slow + 1, 4)
    assert found == {"a": 100e6, "b": 10e6 if slow == 9 else 90e6, "c": 100e6}


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


# -- real jobs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["ddp", "trainer", "local"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_the_summary_names_the_rank_that_sleeps_and_its_host(how, ranks):
    done = run_job(ranks, JOB, how, "1")
    assert done.status == 0, done.err
    said = done.err + done.out
    assert f"rank 1 (host {socket.gethostname()}) is slow: " in said
    assert said.count("is slow") == 1
    assert said.count("a step on ranks 0") == 1
    assert len(re.findall(rf"^ +\d  {socket.gethostname()[:16]}", done.out, re.M)) == ranks


def test_a_trainer_on_one_rank_says_what_it_computes_and_reads():
    done = run_job(1, JOB, "trainer", "-1")
    assert done.status == 0, done.err
    assert re.search(r"^time: .* ms a step: compute (99|100)%, reading data [01]%$", done.err, re.M)
    assert "slow" not in done.err
    assert "\n\n" not in done.err


def test_the_summary_names_the_rank_that_reads_data_slowly():
    done = run_job(3, JOB, "data", "1")
    assert done.status == 0, done.err
    assert f"rank 1 (host {socket.gethostname()}) reads data slowly: " in done.out
    assert "is slow" not in done.out


def test_the_summary_says_that_the_slow_rank_has_fewer_cores():
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores, of which one rank gets one")
    done = run_job(3, JOB, "cores", "1")
    assert done.status == 0, done.err
    assert f"rank 1 (host {socket.gethostname()}) is slow: " in done.out
    assert re.search(r"lost to it; it computes with 1 core, the others with \d+$", done.out, re.M)


def test_a_job_in_which_nobody_is_slow_accuses_nobody():
    done = run_job(3, JOB, "ddp", "-1")
    assert done.status == 0, done.err
    assert "a step on ranks 0-2: compute" in done.out
    assert "slow" not in done.out + done.err


@pytest.mark.mpi
@pytest.mark.parametrize("spins", [1, 10**8])
@pytest.mark.parametrize(("count", "shared"), [(16, False), (100_000, False), (100_000, True)])
def test_the_ranks_that_wait_for_a_late_one_count_the_time_as_waiting(count, shared, spins):
    if connect().size == 1:
        pytest.skip("needs more than one rank")

    def body():
        comm = dg.init().comm
        held = comm.share([(count, np.dtype("f8"), 1)]) if shared else None
        array = np.ones(count) if held is None else held[0].own
        if comm.topology.one_node:  # all of the wait in the looks at the board, or in the watchdog
            comm.transport.node.board.spins = spins
        comm.all_reduce(array, canonical=True)
        times = comm.transport.state.times
        before, moved = times.waiting, times.transfer
        for _ in range(3):
            comm.barrier()
            if comm.rank == comm.size - 1:
                time.sleep(0.2)
            comm.all_reduce(array, canonical=True, name="late")
        waiting, transfer = times.waiting - before, times.transfer - moved
        if comm.rank == comm.size - 1:
            assert waiting < 0.3
        else:
            assert 0.55 < waiting < 1.5
            assert transfer < 0.3
            assert times.kinds["all_reduce"].waiting > 0.55

    alone(body)
