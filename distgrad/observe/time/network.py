"""How fast each host's network is, found by sending: one message from each host to a few others.

Within a ring every rank gets its data at the pace of the slowest link, wherever it is, so what
arrives during training cannot tell whose it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from distgrad.comm import Communicator, Work
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Steps
from distgrad.observe.time.table import host_rates
from distgrad.parallel.world import gather_json

BYTES = 1 << 20
"""Sent by each host to each of its partners: more than what a shaper lets pass at once."""
_PARTNERS = 3  # of each host, each way


def measure(comm: Communicator, hosts: Sequence[str]) -> dict[str, float]:
    """Return each host's rate in bytes/s; ``hosts`` are those of the ranks. Collective.

    Takes a few times ``BYTES`` over the slowest link.
    """
    leaders = {host: hosts.index(host) for host in dict.fromkeys(hosts)}
    ranks = [*leaders.values()]
    found: dict[int, float] = {}
    memory = np.zeros(BYTES, np.uint8), np.zeros(BYTES, np.uint8)
    for shift in range(1, min(len(ranks), _PARTNERS + 1)):
        group = Group(comm.transport)
        steps = _exchange(group, ranks, shift, *memory, found)
        what = f"network test {shift}"
        Work(group, what, steps, everyone=True, timeout=comm.timeout).wait()
    told = gather_json(comm, {str(source): seconds for source, seconds in found.items()})
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
    # The first byte comes when the connection is made and the sender is there.
    first, rest = (transport.irecv(part, source, lane) for part in (incoming[:1], incoming[1:]))
    sends = [transport.isend(part, to, lane) for part in (outgoing[:1], outgoing[1:])]
    yield (first,)
    began = perf_counter()
    yield (rest,)
    found[source] = perf_counter() - began
    yield sends
