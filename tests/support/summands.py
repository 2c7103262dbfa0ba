"""Sums whose bits tell in which order they were made, and their definition."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from distgrad.comm import Communicator, TreeSum, connect, run_ranks


def summand(index, count=13):
    """Numbers whose float32 sum depends on the order of addition."""
    rng = np.random.default_rng(index)
    return (rng.standard_normal(count) * 10.0 ** rng.integers(-4, 5, count)).astype("float32")


def definition(level, index, absent):
    """The value of a node, straight from its definition; None if nothing of it is present."""
    if level == 0:
        return None if index in absent else summand(index)
    left = definition(level - 1, 2 * index, absent)
    right = definition(level - 1, 2 * index + 1, absent)
    if left is None or right is None:
        return right if left is None else left
    return left + right


@st.composite
def partitions(draw):
    """S, the contiguous runs of up to S ranks (some maybe empty), and the absent summands."""
    levels = draw(st.integers(0, 4))
    total = 1 << levels
    size = draw(st.integers(1, total))
    cuts = sorted(draw(st.lists(st.integers(0, total), min_size=size - 1, max_size=size - 1)))
    bounds = [0, *cuts, total]
    absent = draw(st.sets(st.integers(0, total - 1), max_size=total - 1))
    runs = [range(a, b) for a, b in pairwise(bounds)]
    return levels, runs, frozenset(absent)


def sum_of(run, absent):
    tree = TreeSum(run)
    for index in run:
        if index not in absent:
            tree.add(index, summand(index))
    return tree


def assert_definition(partition, algorithm, schedule=None):
    """Assert that simulated ranks with these runs of summands have the bits of the definition."""
    levels, runs, absent = partition

    def body():
        comm = Communicator(connect())
        parts = sum_of(runs[comm.rank], absent).parts
        out = np.full(13, np.nan, "float32")
        comm.start_sum(parts, out, runs, absent=absent, algorithm=algorithm).wait()
        return out.tobytes()

    expected = definition(levels, 0, absent).tobytes()
    assert set(run_ranks(len(runs), body, schedule=schedule)) == {expected}
