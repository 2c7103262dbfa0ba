"""All-reduce, reduce and reduce-scatter by any function of two arrays, in the canonical order.

Each rank is one summand; every rank gets the same bits, whatever root or slices they go to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from distgrad.comm.algorithms import ring, tree
from distgrad.comm.canonical import one_each
from distgrad.comm.group import Group, even_slices, pieces
from distgrad.comm.message import Array, Request, Steps

OPS: dict[str, np.ufunc] = {
    "sum": np.add,
    "mean": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "band": np.bitwise_and,
    "bor": np.bitwise_or,
    "bxor": np.bitwise_xor,
}
"""What can be made of all ranks' elements; a NaN in one is a NaN in the maximum and minimum."""


@lru_cache(maxsize=1024)
def fault_of(op: str, dtype: np.dtype[np.generic]) -> str:
    """Say why ``op`` cannot be had of this dtype; "" if it can."""
    if op not in OPS:
        return f"op={op!r} is none of {', '.join(map(repr, OPS))}"
    if op == "mean" and dtype.kind not in "fc":
        return f"the mean of {dtype} would be cut; convert with .astype(float)"
    if op == "sum" and dtype.kind not in "iufc":
        return f"sums numbers, not {dtype}; convert with .astype"
    try:
        one = np.zeros(1, dtype)
        fits = OPS[op](one, one).dtype == dtype
    except TypeError:
        fits = False
    return "" if fits else f"there is no {op} of {dtype} in NumPy"


def all_reduce(group: Group, array: Array, add: np.ufunc) -> Steps:
    """Replace a flat array, on all ranks, by what ``add`` makes of all ranks'."""
    slices = even_slices(array.size, group.size)
    yield from reduce_scatter(group, array, slices, add)
    yield from ring.all_gather(group, array, slices)


def reduce_scatter(group: Group, array: Array, slices: Sequence[slice], add: np.ufunc) -> Steps:
    """Leave in ``array[slices[rank]]`` what ``add`` makes of it; the rest is overwritten."""
    parts = [(0, group.rank, array)]
    return tree.reduce_parts(group, parts, array, one_each(group.size), slices, add)


def reduce(group: Group, array: Array, root: int, add: np.ufunc) -> Steps:
    """Replace the root's flat array by what ``add`` makes of all ranks'; the others keep theirs.

    Along a binomial tree. A node of the canonical tree is held by its lowest rank, or by the root
    if it is in it; so the order is the same for every root, and no total travels twice.
    """
    children, parent = _family(group.rank, group.size, root)
    total = array
    if children and group.rank != root:
        total = group.scratch(array.size, array.dtype)
        total[:] = array
    arrivals = []
    for child, _ in children:
        landing = group.scratch(array.size, array.dtype)
        arrivals.append((pieces(landing), group.recv(landing, child)))
    sends: list[Request] = []
    for number, ours in enumerate(pieces(total)):
        for (_, before), (landed, requests) in zip(children, arrivals, strict=True):
            yield (requests[number],)
            theirs = landed[number]
            add(*((theirs, ours) if before else (ours, theirs)), out=ours)
        if parent is not None:
            sends += group.send(ours, parent)
    yield sends


def divide(steps: Steps, total: Array, size: int) -> Steps:
    """Go through the steps, then make the mean of a sum over ``size`` ranks."""
    yield from steps
    np.divide(total, size, out=total)


def _family(rank: int, size: int, root: int) -> tuple[list[tuple[int, bool]], int | None]:
    """Return from whom a rank receives, and whether what comes stands before its own; to whom."""

    def holder(level: int, index: int) -> int:
        return root if root >> level == index else index << level

    children: list[tuple[int, bool]] = []
    level = 0
    while 1 << level < size:
        sibling = (rank >> level) ^ 1
        if sibling << level < size:  # an absent summand is skipped
            other = holder(level, sibling)
            if holder(level + 1, rank >> (level + 1)) != rank:
                return children, other
            children.append((other, bool(rank >> level & 1)))
        level += 1
    return children, None
