"""Who owns which part of the buckets. Integers only, the same on every rank."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from distgrad.autograd.layout import Slot
from distgrad.optim.norms import BLOCK

Slices: TypeAlias = "tuple[slice, ...]"
"""The part of each rank, in rank order; they cover the bucket, in any order."""


@dataclass(frozen=True)
class Wanted:
    """A bucket to be cut: which of its parameters must stay in one piece, and bytes an element."""

    slots: Sequence[Slot]
    whole: Sequence[bool]
    itemsize: int


def cut(buckets: Sequence[Wanted], size: int) -> list[Slices]:
    """Return the slices of each bucket: nearly even ones, and together still more nearly so.

    A parameter is cut at multiples of the block over which norms are summed, so that each block is
    one rank's and the norm's bits do not depend on the ranks.
    """
    load = [0] * size  # bytes that each rank owns so far
    found = []
    for bucket in buckets:
        runs = _runs(_borders(bucket), size)
        # The longest run goes to the rank with the least.
        order = sorted(range(size), key=lambda r: (load[r], r))
        longest = sorted(runs, key=lambda run: (run.start - run.stop, run.start))
        slices = [slice(0, 0)] * size
        for rank, run in zip(order, longest, strict=True):
            slices[rank] = run
            load[rank] += (run.stop - run.start) * bucket.itemsize
        found.append(tuple(slices))
    return found


def _borders(bucket: Wanted) -> list[int]:
    """Return where the bucket may be cut, its ends included."""
    borders = {0, bucket.slots[-1].stop}
    for slot, whole in zip(bucket.slots, bucket.whole, strict=True):
        borders.update([slot.start] if whole else range(slot.start, slot.stop, BLOCK))
    return sorted(borders)


def _runs(borders: Sequence[int], size: int) -> list[slice]:
    """Cut at the borders that are nearest to even parts; some may be empty."""
    points = [0]
    for part in range(1, size):
        ideal = borders[-1] * part / size
        above = bisect_left(borders, ideal)
        nearest = min(borders[max(above - 1, 0) : above + 1], key=lambda b: abs(b - ideal))
        points.append(max(nearest, points[-1]))
    return [slice(a, b) for a, b in pairwise([*points, borders[-1]])]
