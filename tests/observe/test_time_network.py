"""Which host's network is slow: the rates of pairs, and how they are measured."""

from __future__ import annotations

import pytest
from training import simulated

import distgrad as dg
from distgrad.observe.time import network
from distgrad.observe.time.table import host_rates, network_accusation, slow_hosts


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
