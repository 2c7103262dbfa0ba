"""The table of the ranks' times: who is slow in it, by what, and in which words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distgrad.observe.time import Share, Shares


def shares(*computing, seconds=10.0, transfer=0.5, hosts="abcdefgh"):
    """Ranks that take as long together and compute so many seconds of it, in 100 steps."""
    return Shares(
        tuple(
            Share(host, 100, seconds, seconds - mine - transfer, transfer, 0.25)
            for mine, host in zip(computing, hosts, strict=False)
        )
    )


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
    assert reads.startswith("rank 1 (host b) reads data slowly: 40 ms a step, the others 0 s")


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
