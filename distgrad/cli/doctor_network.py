"""``distgrad doctor`` on the network: how long a short message takes, and how fast each host is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from time import perf_counter

import numpy as np

from distgrad.cli.doctor_finding import Finding, note, ok, problem
from distgrad.comm import Communicator, Work, gather_json
from distgrad.comm.group import Group
from distgrad.comm.message import Steps
from distgrad.observe.durations import spell_seconds
from distgrad.observe.time import network
from distgrad.observe.time.table import network_accusation

_TURNS = 40  # there and back
_HOSTS = 16  # that are asked
_FAR = 2e-3  # seconds: other buildings, or a network that is full
_THIN = 50e6  # bytes a second: less than half of 1 Gbit/s
_IPERF = "iperf3 -s on one host, iperf3 -c HOST on another  # cables, duplex, switches"


def how_fast_the_network_is(comm: Communicator) -> Iterator[Finding]:
    """Measure latency from the first host to others, and every host's rate; collective."""
    hosts = gather_json(comm, comm.transport.host, "distgrad doctor")
    leaders = {host: hosts.index(host) for host in dict.fromkeys(hosts)}
    if len(leaders) == 1:
        return
    first, *others = leaders
    near: dict[str, float] = {}
    for host in others[:_HOSTS]:
        near[host] = latency(comm, leaders[first], leaders[host])
    yield _of_latency(first, near)
    rates = network.measure(comm, hosts)
    shown = ", ".join(f"{host} {_mbit(rate)}" for host, rate in [*rates.items()][:_HOSTS])
    if said := network_accusation(rates):
        yield problem(said, _IPERF, shown)
    elif min(rates.values()) < _THIN:
        text = "the network is slow: gradients take longer than backward hides"
        cure = "python -m pydoc distgrad.parallel.hooks  # send less: docs/compression.md"
        yield note(text, cure, shown)
    else:
        yield ok("rates of the hosts", shown)


def _of_latency(first: str, near: dict[str, float]) -> Finding:
    middle, (host, worst) = median(near.values()), max(near.items(), key=lambda pair: pair[1])
    figures = f"{spell_seconds(middle)} in the median, {spell_seconds(worst)} to {host}"
    if worst > _FAR:
        return note(f"short messages from {first} take long", f"ping -c 5 {host}", figures)
    return ok(f"short messages from {first} to other hosts", figures)


def latency(comm: Communicator, one: int, other: int) -> float:
    """Return the seconds of a message of one byte between two ranks, on all ranks; collective.

    The fastest of all turns, as ``ping``'s first figure: what the network needs. The others also
    tell who else computes on the two hosts.
    """
    found: list[float] = []
    group = Group(comm.transport)
    steps = _to_and_fro(group, one, other, found)
    what = f"latency from rank {one} to {other}"
    Work(group, what, steps, everyone=True, timeout=comm.timeout).wait()
    told: Sequence[float] = gather_json(comm, min(found, default=0.0), what)
    return told[one]


def _to_and_fro(group: Group, one: int, other: int, found: list[float]) -> Steps:
    if group.rank not in (one, other):
        return
    transport, lane = group.transport, group.lane
    peer = other if group.rank == one else one
    ball, caught = np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    for _ in range(_TURNS):
        began = perf_counter()
        if group.rank == one:
            sent = transport.isend(ball, peer, lane)
            yield (transport.irecv(caught, peer, lane), sent)
        else:
            yield (transport.irecv(caught, peer, lane),)
            yield (transport.isend(ball, peer, lane),)
        found.append((perf_counter() - began) / 2)


def _mbit(rate: float) -> str:
    return f"{rate * 8 / 1e6:.0f} Mbit/s"
