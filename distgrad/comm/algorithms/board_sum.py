"""Small sums inside a node: every rank reads what all have written beside their notices.

One wait, and no message; each rank adds everything up for itself, in the order of the plan.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distgrad.comm.board import SMALL, Board
from distgrad.comm.canonical import Plan
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Steps


def fits(nbytes: int, plan: Plan) -> bool:
    """Whether every rank's parts of so many bytes lie beside its notice."""
    return max(map(len, plan.nodes)) * nbytes <= SMALL


def sum_parts(group: Group, own: Sequence[Array], out: Array, plan: Plan) -> Steps:
    """Sum all ranks' parts into ``out``, of which this rank's are ``own``."""
    board = group.board
    assert board is not None
    rows: list[Array] = []
    group.before_arrival = lambda: rows.extend(write(board, group.number, own, out, plan))
    return _steps(rows, out, plan)


def _steps(rows: Sequence[Array], out: Array, plan: Plan) -> Steps:
    yield ()  # all have arrived already
    add_rows(rows, out, plan)


def write(
    board: Board, number: int, own: Sequence[Array], out: Array, plan: Plan
) -> Sequence[Array]:
    """Write this rank's parts beside its notice, before it is posted; return everyone's rows."""
    count = out.size
    rows = board.small(number, out.dtype, max(map(len, plan.nodes)) * count)
    mine = rows[board.place]
    for k, part in enumerate(own):
        mine[k * count : (k + 1) * count] = part
    return rows


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
