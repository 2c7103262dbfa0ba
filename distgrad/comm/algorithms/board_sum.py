"""Small sums inside a node: every rank reads what all have written beside their notices.

One wait, and no message; each rank adds everything up for itself, in the order of the plan.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distgrad.comm.board import SMALL
from distgrad.comm.canonical import Plan
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Steps


def fits(group: Group, out: Array, plan: Plan) -> bool:
    """Whether every rank's parts lie beside its notice; on all ranks the same answer."""
    most = max(map(len, plan.nodes))
    return group.board is not None and group.topology.one_node and most * out.nbytes <= SMALL


def sum_parts(group: Group, own: Sequence[Array], out: Array, plan: Plan) -> Steps:
    """Sum all ranks' parts into ``out``, of which this rank's are ``own``."""
    board, number, most = group.board, group.number, max(map(len, plan.nodes))
    assert board is not None

    def write() -> None:
        rows = board.small(number, out.dtype, most * out.size)
        for k, part in enumerate(own):
            rows[board.place][k * out.size : (k + 1) * out.size] = part

    group.before_arrival = write
    return _steps(group, out, plan, most)


def _steps(group: Group, out: Array, plan: Plan, most: int) -> Steps:
    assert group.board is not None
    yield ()  # all have arrived already
    add_rows(group.board.small(group.number, out.dtype, most * out.size), out, plan)


def add_rows(rows: Sequence[Array], out: Array, plan: Plan) -> None:
    """Write the sum of all ranks' rows, each with its parts side by side, to ``out``."""
    count = out.size
    parts = [
        row[k * count : (k + 1) * count]
        for row, nodes in zip(rows, plan.nodes, strict=True)
        for k in range(len(nodes))
    ]
    # The rows are the others' to read as well: nothing is added in place.
    for a, b in plan.additions[:-1]:
        parts[a] = parts[a] + parts[b]
    if plan.additions:
        a, b = plan.additions[-1]
        np.add(parts[a], parts[b], out=out)
    else:
        out[...] = parts[plan.total]
