"""The canonical order: sums whose bits do not depend on who holds which summands.

Summands 0..S-1 (S a power of two) are the leaves of a balanced binary tree; node ``(level, index)``
covers summands ``index << level`` up to ``(index + 1) << level`` and its value is left + right. An
absent summand is skipped, never added as zero: its sibling then stands for the parent.
Nothing here is sent anywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from distgrad.comm.message import Array

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
        self._kept: Array | None = None

    def add(self, index: int, array: Array, *, keep: bool = False) -> None:
        """Add summand ``index``; ValueError if it is outside the run or out of order.

        With ``keep`` sums it becomes part of are written to it, not to the earlier summand's array.
        """
        if not self._next <= index < self.run.stop:
            raise ValueError(
                f"summand {index} is out of turn: the next one must be at least {self._next} and "
                f"below {self.run.stop}"
            )
        self._next = index + 1
        self._settle(index)
        self._kept = array if keep else None
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
                total, spare = (array, left) if array is self._kept else (left, array)
                np.add(left, array, out=total)
                self.spare.append(spare)
                array = total
            self._stack[-1] = (level + 1, parent, array)


@dataclass(frozen=True, eq=False)  # compared by identity: ``plan`` makes each one once
class Plan:
    """How the ranks' parts become one sum: who holds which nodes, and what is added to what."""

    nodes: tuple[tuple[Node, ...], ...]  # of each rank, in order
    additions: tuple[tuple[int, int], ...]  # ``slot[a] += slot[b]``: slot i is node i of them all
    total: int  # the slot that holds the sum in the end
    text: str  # the runs and the absent summands, for a message


@lru_cache(maxsize=256)
def plan(runs: tuple[range, ...], absent: tuple[int, ...] = ()) -> Plan:
    """Return the plan of a sum whose summands ``runs[r]``, without the absent ones, rank r holds.

    Raises ValueError if no summand is present.
    """
    nodes = tuple(tuple(nodes_of(run, absent)) for run in runs)
    if not any(nodes):
        raise ValueError(f"needs at least one summand present; absent are {list(absent)}")
    spelled = " ".join(f"{run.start}:{run.stop}" for run in runs)
    without = f" without {' '.join(map(str, absent))}" if absent else ""
    additions, total = schedule([node for held in nodes for node in held])
    return Plan(nodes, additions, total, f" over runs {spelled}{without}")


@lru_cache(maxsize=256)
def one_each(size: int) -> Plan:
    """Return the plan of a sum to which each of ``size`` ranks brings one summand."""
    return plan(tuple(range(rank, rank + 1) for rank in range(size)))


def schedule(nodes: Sequence[Node]) -> tuple[tuple[tuple[int, int], ...], int]:
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
