"""The canonical sum by recursive halving and doubling: log2(N) rounds, for many ranks.

Neighbours first: in round k a rank gives away half of what it still sums to the one whose number
differs in bit k, so that what a pair adds up is a node of the tree over the ranks, or several
(Thakur, Rabenseifner and Gropp 2005, with their fold for numbers that are no power of two).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from distgrad.comm.canonical import Part, Plan
from distgrad.comm.group import Group, pieces
from distgrad.comm.message import Array, Request, Steps
from distgrad.comm.topology import Additions, NodePlan, Topology, cut_at_nodes


def sum_parts(group: Group, parts: Sequence[Part], out: Array, plan: Plan) -> Steps:
    """Sum all ranks' parts, which are those of the plan, into ``out`` on every rank.

    The parts are overwritten; ``out`` may be one of them.
    """
    rank, rounds = group.rank, rounds_of(plan, group.size)
    held = {(level, index): array for level, index, array in parts}
    first = sum(map(len, plan.nodes[:rank]))
    slots = _Slots(out.dtype)
    slots.update({first + k: held[node] for k, node in enumerate(plan.nodes[rank])})
    if rounds.twin_of[rank] is not None and rank % 2:  # folded: its neighbour sums for it
        yield [r for slot in sorted(slots) for r in group.send(slots[slot], rank - 1)]
        yield group.recv(out, rank - 1)
        return
    if rounds.twin_of[rank] is not None:
        theirs = range(first + len(slots), first + len(slots) + len(plan.nodes[rank + 1]))
        yield from _take_in(group, slots, theirs, rank + 1, slice(0, out.size))
    _add_up(rounds.additions[0][rounds.place[rank]], slots, slice(0, out.size))
    mine, given = slice(0, out.size), []
    for k in range(rounds.count):
        mine, away = _halves(mine, rounds.place[rank] >> k & 1)
        given.append(away)
        yield from _exchange(group, rounds, k, slots, mine, away)
        _add_up(rounds.additions[k + 1][rounds.place[rank]], slots, mine)
    out[mine] = slots[plan.total][mine]
    for k in reversed(range(rounds.count)):
        partner = rounds.partner(rank, k)
        arrivals = group.recv(out[given[k]], partner)
        yield [*group.send(out[mine], partner), *arrivals]
        mine = slice(min(mine.start, given[k].start), max(mine.stop, given[k].stop))
    if rounds.twin_of[rank] is not None:
        yield group.send(out, rank + 1)


class _Slots(dict[int, Array]):
    """What this rank holds of the slots of the plan, all of one dtype."""

    def __init__(self, dtype: np.dtype[np.generic]) -> None:
        super().__init__()
        self.dtype = dtype


class Rounds:
    """Who exchanges with whom in which round, and what is added up after it."""

    def __init__(self, plan: Plan, size: int) -> None:
        self.count: int = size.bit_length() - 1
        extra = size - (1 << self.count)
        # The first 2 * extra ranks stand in pairs, of which the even one takes part.
        self.active: list[int] = [*range(0, 2 * extra, 2), *range(2 * extra, size)]
        self.place = [r // 2 if r < 2 * extra else r - extra for r in range(size)]
        self.twin_of = [r ^ 1 if r < 2 * extra else None for r in range(size)]
        self._plans = [self._cut(plan, size, k) for k in range(self.count + 1)]
        self.additions: list[list[Additions]] = []
        """Of each round, of each rank's place: what its group adds up beyond the round before."""
        for k, cut in enumerate(self._plans):
            done = {pair for inside in self._plans[k - 1].inside for pair in inside} if k else set()
            fresh = [tuple(pair for pair in inside if pair not in done) for inside in cut.inside]
            self.additions.append([fresh[place >> k] for place in range(len(self.active))])

    def _cut(self, plan: Plan, size: int, k: int) -> NodePlan:
        groups: dict[int, list[int]] = {}
        for rank in range(size):
            groups.setdefault(self.place[rank] >> k, []).append(rank)
        return cut_at_nodes(plan, Topology(tuple(map(tuple, groups.values()))))

    def roots(self, rank: int, k: int) -> tuple[int, ...]:
        """Return the slots that the group of a rank holds before round k."""
        return self._plans[k].roots[self.place[rank] >> k]

    def partner(self, rank: int, k: int) -> int:
        """Return the rank with which ``rank`` exchanges in round k."""
        place: int = self.place[rank] ^ (1 << k)
        return self.active[place]


@lru_cache(maxsize=64)
def rounds_of(plan: Plan, size: int) -> Rounds:
    """Return the rounds of a plan, which are the same in every sum of it."""
    return Rounds(plan, size)


def _halves(stretch: slice, upper: int) -> tuple[slice, slice]:
    """Return the half of a stretch that is kept and the one that is given away."""
    middle = (stretch.start + stretch.stop + 1) // 2
    halves = slice(stretch.start, middle), slice(middle, stretch.stop)
    return halves[upper], halves[1 - upper]


def _exchange(
    group: Group, rounds: Rounds, k: int, slots: _Slots, mine: slice, away: slice
) -> Steps:
    """Give the partner of round k its half of this group's sums, and take this one's of its."""
    partner = rounds.partner(group.rank, k)
    sends = [
        r for slot in rounds.roots(group.rank, k) for r in group.send(slots[slot][away], partner)
    ]
    yield from _take_in(group, slots, rounds.roots(partner, k), partner, mine)
    yield sends


def _take_in(
    group: Group,
    slots: _Slots,
    theirs: Sequence[int],
    source: int,
    stretch: slice,
) -> Steps:
    """Receive a stretch of the slots of another rank."""
    arrivals: list[Request] = []
    for slot in theirs:
        slots[slot] = group.scratch(stretch.stop, slots.dtype)
        arrivals += group.recv(slots[slot][stretch], source)
    yield arrivals


def _add_up(additions: Additions, slots: _Slots, stretch: slice) -> None:
    for a, b in additions:
        x, y = pieces(slots[a][stretch]), pieces(slots[b][stretch])
        for target, other in zip(x, y, strict=True):
            np.add(target, other, out=target)
