"""The canonical tree: sums whose bits do not depend on who holds which summands.

Summands 0..S-1 (S a power of two) are the leaves of a balanced binary tree; node ``(level, index)``
covers summands ``index << level`` up to ``(index + 1) << level`` and its value is left + right. An
absent summand is skipped, never added as zero: its sibling then stands for the parent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from distgrad.comm.algorithms import ring
from distgrad.comm.channel import Channel, even_slices, pieces
from distgrad.comm.message import Array, Request, Steps

Node: TypeAlias = tuple[int, int]  # (level, index)
Part: TypeAlias = tuple[int, int, Array]  # (level, index, partial sum)


def nodes_of(run: range, absent: Collection[int] = ()) -> list[Node]:
    """Return the largest nodes that lie inside a contiguous run of summands, in order.

    Nodes with no summand present are left out; one with some present is whole.
    """
    nodes = []
    start = run.start
    while start < run.stop:
        level = 0
        # Grow while the node stays aligned and inside the run.
        while start % (2 << level) == 0 and start + (2 << level) <= run.stop:
            level += 1
        stop = start + (1 << level)
        if any(summand not in absent for summand in range(start, stop)):
            nodes.append((level, start >> level))
        start = stop
    return nodes


class TreeSum:
    """Sums the summands of one run over the canonical tree, as they come.

    Summands are added in ascending order; those of the run never added are absent. Arrays given
    to ``add`` belong to the sum from then on; ``spare`` holds those it no longer needs.
    """

    def __init__(self, run: range) -> None:
        self.run = run
        self.spare: list[Array] = []
        self._stack: list[Part] = []
        self._next = run.start

    def add(self, index: int, array: Array) -> None:
        """Add summand ``index``; ValueError if it is outside the run or out of order."""
        if not self._next <= index < self.run.stop:
            raise ValueError(
                f"summand {index} is out of turn: the next one must be at least {self._next} and "
                f"below {self.run.stop}"
            )
        self._next = index + 1
        self._settle(index)
        self._stack.append((0, index, array))
        self._settle(index + 1)

    @property
    def parts(self) -> list[Part]:
        """The partial sums, for exactly the nodes ``nodes_of`` names; ends the sum."""
        self._next = self.run.stop
        self._settle(self.run.stop)
        return list(self._stack)

    def _settle(self, upto: int) -> None:
        """Let nodes on the stack stand for their parents where all before ``upto`` is known."""
        while self._stack:
            level, index, array = self._stack[-1]
            parent = index >> 1
            start = parent << (level + 1)
            if start < self.run.start or start + (2 << level) > upto:
                return
            if index & 1 and len(self._stack) > 1 and self._stack[-2][:2] == (level, index - 1):
                self._stack.pop()
                left = self._stack[-1][2]
                np.add(left, array, out=left)
                self.spare.append(array)
                array = left
            self._stack[-1] = (level + 1, parent, array)


@lru_cache(maxsize=256)
def schedule(nodes: tuple[Node, ...]) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return the additions ``slot[a] += slot[b]`` in tree order, and the slot of the total.

    ``nodes[i]`` is what slot i holds; the nodes cover disjoint summands, at least one of them.
    """
    slots = {node: slot for slot, node in enumerate(nodes)}
    top = max(level + index.bit_length() for level, index in nodes)
    inner = {(up, index >> (up - level)) for level, index in nodes for up in range(level, top + 1)}
    additions: list[tuple[int, int]] = []

    def visit(level: int, index: int) -> int | None:
        if (level, index) not in inner:
            return None
        if (level, index) in slots:
            return slots[level, index]
        left, right = visit(level - 1, 2 * index), visit(level - 1, 2 * index + 1)
        if left is None or right is None:
            return right if left is None else left
        additions.append((left, right))
        return left

    total = visit(top, 0)
    assert total is not None
    return tuple(additions), total


def tree_all_reduce(
    channel: Channel, parts: Sequence[Part], out: Array, nodes: Sequence[Sequence[Node]]
) -> Steps:
    """Sum all ranks' parts over the canonical tree into ``out`` on every rank.

    ``nodes[r]`` are the nodes rank r holds, the same table on all ranks. A direct exchange: rank
    q gets slice q of every part, sums it in tree order, then the slices go around the ring. The
    parts are overwritten; ``out`` may be one of them.
    """
    rank, size = channel.rank, channel.size
    slices = even_slices(out.size, size)
    own = slices[rank]
    # Each rank starts with another destination, so that no rank is sent to by all at once.
    others = [(rank + shift) % size for shift in range(1, size)]

    slots: list[list[Array]] = []  # for each slot, the pieces of this rank's slice
    arrivals: list[list[Request]] = []  # and what each piece waits for
    held = {(level, index): array for level, index, array in parts}
    for owner, table in enumerate(nodes):
        for node in table:
            if owner == rank:
                slots.append(pieces(held[node][own]))
                arrivals.append([])
            else:
                landing = channel.scratch(own.stop - own.start, out.dtype)
                slots.append(pieces(landing))
                arrivals.append(channel.recv(landing, owner))
    sends: list[Request] = []
    for dest in others:
        for node in nodes[rank]:
            sends += channel.send(held[node][slices[dest]], dest)

    additions, total = schedule(tuple(node for table in nodes for node in table))
    for number, target in enumerate(pieces(out[own])):
        yield [requests[number] for requests in arrivals if requests]
        for a, b in additions:
            np.add(slots[a][number], slots[b][number], out=slots[a][number])
        if not np.may_share_memory(slots[total][number], target):
            target[:] = slots[total][number]
    # A slice comes back only after its owner has read it, but MPI wants the request complete.
    yield sends
    yield from ring.all_gather(channel, out, slices)


def single_runs(size: int) -> list[range]:
    """Return the runs of a world in which each rank holds one summand."""
    return [range(rank, rank + 1) for rank in range(size)]


def all_reduce(channel: Channel, array: Array) -> Steps:
    """Sum a flat array over all ranks, in place, each rank one summand of the tree."""
    nodes: Iterable[list[Node]] = map(nodes_of, single_runs(channel.size))
    return tree_all_reduce(channel, [(0, channel.rank, array)], array, list(nodes))
