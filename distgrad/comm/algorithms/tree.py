"""The canonical sum by a direct exchange, with the bytes of a ring; by halving for many ranks.

Each rank sums its slice of everyone's parts in the order of the plan; then the slices go around.
Where the slices are short and there are many, ``halving`` does the same in log2(N) rounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distgrad.comm.algorithms import halving, ring
from distgrad.comm.canonical import Part, Plan, one_each
from distgrad.comm.group import Group, even_slices, pieces
from distgrad.comm.message import Array, Request, Steps

HALVING_RANKS = 8
"""From so many ranks on, slices below HALVING_BYTES are halved instead of sent to each rank."""
HALVING_BYTES = 1 << 15


def all_reduce(group: Group, array: Array) -> Steps:
    """Sum a flat array over all ranks, in place, each rank one summand."""
    return sum_parts(group, [(0, group.rank, array)], array, one_each(group.size))


def sum_parts(group: Group, parts: Sequence[Part], out: Array, plan: Plan) -> Steps:
    """Sum all ranks' parts, which are those of the plan, into ``out`` on every rank.

    The parts are overwritten; ``out`` may be one of them.
    """
    if group.size >= HALVING_RANKS and out.nbytes < HALVING_BYTES * group.size:
        yield from halving.sum_parts(group, parts, out, plan)
        return
    slices = even_slices(out.size, group.size)
    yield from reduce_parts(group, parts, out, plan, slices)
    yield from ring.all_gather(group, out, slices)


def reduce_parts(
    group: Group,
    parts: Sequence[Part],
    out: Array,
    plan: Plan,
    slices: Sequence[slice],
    add: np.ufunc = np.add,
) -> Steps:
    """Leave in ``out[slices[rank]]`` its sum over all ranks' parts; the rest is overwritten.

    ``add`` is what makes one array of two, if it is not a sum.
    """
    rank, size = group.rank, group.size
    own = slices[rank]
    # Each rank starts with another destination, so that no rank is sent to by all at once.
    others = [(rank + shift) % size for shift in range(1, size)]

    slots: list[list[Array]] = []  # for each slot, the pieces of this rank's slice
    arrivals: list[list[Request]] = []  # and what each piece waits for
    held = {(level, index): array for level, index, array in parts}
    for owner, nodes in enumerate(plan.nodes):
        for node in nodes:
            if owner == rank:
                slots.append(pieces(held[node][own]))
                arrivals.append([])
            else:
                landing = group.scratch(own.stop - own.start, out.dtype)
                slots.append(pieces(landing))
                arrivals.append(group.recv(landing, owner))
    sends: list[Request] = []
    for dest in others:
        for node in plan.nodes[rank]:
            sends += group.send(held[node][slices[dest]], dest)

    total = slots[plan.total]
    for number, target in enumerate(pieces(out[own])):
        yield [requests[number] for requests in arrivals if requests]
        for a, b in plan.additions:
            add(slots[a][number], slots[b][number], out=slots[a][number])
        if not np.may_share_memory(total[number], target):
            target[:] = total[number]
    # A slice comes back only after its owner has read it, but MPI wants the request complete.
    yield sends
