"""How fast each host's network is, found by sending: one message from each host to a few others.

Within a ring every rank gets its data at the pace of the slowest link, wherever it is, so what
arrives during training cannot tell whose it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from distgrad.comm import Communicator, Work, gather_json
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Steps
from distgrad.observe.time.table import host_rates, slow_hosts

BYTES = 1 << 20
"""Timed, of what each host sends to each of its partners."""
_BURST = 1 << 18  # sent before: what a network that is shaped lets pass at once
_PARTNERS = 3  # of each host, each way
_TRIES = 4  # for hosts that seem slow: a process that does not get its core does for a moment


def measure(comm: Communicator, hosts: Sequence[str]) -> dict[str, float]:
    """Return each host's rate in bytes/s; ``hosts`` are those of the ranks. Collective.

    Takes a few times ``BYTES`` over the slowest link. Of several tries the fastest counts.
    """
    rates = _try(comm, hosts)
    for _ in range(_TRIES - 1):
        if not slow_hosts(rates):  # the same on all ranks
            break
        again = _try(comm, hosts)
        rates = {host: max(rate, again[host]) for host, rate in rates.items()}
    return rates


def _try(comm: Communicator, hosts: Sequence[str]) -> dict[str, float]:
    """Let each host send to a few others; return the rates that come of it."""
    leaders = {host: hosts.index(host) for host in dict.fromkeys(hosts)}
    ranks = [*leaders.values()]
    found: dict[int, float] = {}
    memory = np.zeros(_BURST + BYTES, np.uint8), np.empty(_BURST + BYTES, np.uint8)
    for shift in range(1, min(len(ranks), _PARTNERS + 1)):
        group = Group(comm.transport)
        steps = _exchange(group, ranks, shift, *memory, found)
        what = f"network test {shift}"
        Work(group, what, steps, everyone=True, timeout=comm.timeout).wait()
    mine = {str(source): seconds for source, seconds in found.items()}
    told = gather_json(comm, mine, "network test")
    pairs = {
        (hosts[int(source)], hosts[rank]): BYTES / max(seconds, 1e-9)
        for rank, theirs in enumerate(told)
        for source, seconds in theirs.items()
    }
    return host_rates(pairs)


def _exchange(
    group: Group,
    ranks: Sequence[int],
    shift: int,
    outgoing: Array,
    incoming: Array,
    found: dict[int, float],
) -> Steps:
    """Send to the host ``shift`` further on; note how long what comes from the other side takes."""
    if group.rank not in ranks:
        return
    place = ranks.index(group.rank)
    to, source = ranks[(place + shift) % len(ranks)], ranks[place - shift]
    transport, lane = group.transport, group.lane
    # The first part comes when the connection is made and the sender is there.
    cut = slice(_BURST), slice(_BURST, None)
    first, rest = (transport.irecv(incoming[part], source, lane) for part in cut)
    sends = [transport.isend(outgoing[part], to, lane) for part in cut]
    yield (first,)
    began = perf_counter()
    yield (rest,)
    found[source] = perf_counter() - began
    yield sends
