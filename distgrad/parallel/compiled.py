"""Sums inside a node as tables for one compiled call (``kernels.meeting``), where numba is.

Which calls a sum makes is known beforehand, and so is where everything lies that it reads and
writes. What has no row makes a sum go on as it did, call by call, with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad import kernels
from distgrad.autograd.mode import fused_enabled
from distgrad.autograd.types import Array
from distgrad.comm import Board, Call, Communicator
from distgrad.comm.board import SLOTS
from distgrad.comm.node import address
from distgrad.optim.norms import rough_squares, square

_COPY, _ADD, _MEET, _SQUARES, _WIDEN = 0, 1, 3, 5, 7  # the kernel's rows; with doubles one more
_TO_BE_TOLD, _TOLD, _DONE = range(3)  # where it begins
_COMPLETE = 3  # and how far it comes
_FLOAT, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
Row = tuple[int, int, int, int]


def note_squares(target: Array, block: Array) -> None:
    """Write to ``target[0]`` the sum of the squares of a flat block, as ``norms.square``."""
    target[0] = square(block)


def note_rough_squares(target: Array, block: Array) -> None:
    """Write about the same, finite where that is: in a third of the time if this is called."""
    target[0] = rough_squares(block)


def compile_sums(comm: Communicator) -> None:
    """Let sums over arrays that the ranks of one node share be one compiled call each."""
    transport = comm.transport
    # Simulated ranks take turns: nobody may look twice in one.
    if not (transport.timed and comm.topology.one_node and comm.topology.shares):
        return
    meet = kernels.part("meeting", "meet") if fused_enabled.get() else None
    if meet is not None:
        transport.node.compiler = lambda board, calls: _meeting(meet, board, calls)


class _Meeting:
    """A ``comm.node.Meeting``."""

    __slots__ = ("_board", "_calls", "_meet", "_order")

    def __init__(
        self, meet: Callable[..., int], board: Board, order: Array, calls: Sequence[Call]
    ) -> None:
        self._meet, self._board, self._order = meet, board, order
        self._calls = calls  # held: their arrays' addresses are in the order

    def __call__(self, number: int, digest: int, looks: int, summed: bool) -> int:
        return self._meet(
            self._order, number % SLOTS, number, digest, looks, _DONE if summed else _TOLD, -1
        )

    def at_once(self, number: int, digest: int, text: bytes, looks: int) -> int:
        board, turn = self._board, number % SLOTS
        if board.texts[turn] is not text:
            board.describe(turn, text)
        over = number + 1 if number == board.done and not board.early else -1
        stage = self._meet(self._order, turn, number, digest, looks, _TO_BE_TOLD, over)
        if stage == _COMPLETE:
            if over < 0:
                board.finish(number)
            else:
                board.done = over
        return stage

    def arrived(self) -> float:
        begun, arrived, ended = self._order[:3].tolist()
        return (arrived - begun) / (ended - begun) if ended > begun else 1.0


def _meeting(
    meet: Callable[..., int], board: Board, calls: Sequence[Call] | None
) -> _Meeting | None:
    rows: list[Row] = []
    for call in calls or ():
        more = _rows(*call)
        if more is None:
            return None
        rows += more
    rows = _joined(rows)
    words, step, mine, over, count, *firsts = board.order
    numbers = [0, 0, 0, words, step, mine, over, count, len(rows), int(calls is not None), *firsts]
    order = np.array([*numbers, *(n for row in rows for n in row)], np.int64)
    return _Meeting(meet, board, order, calls or ())


def _rows(function: Callable[..., Any], *arrays: Array) -> list[Row] | None:
    """Return the rows of a call, None if there are none for it."""
    first, last = arrays[0], arrays[-1]
    kinds, double = {a.dtype for a in arrays}, int(last.dtype == _DOUBLE)
    a, b = address(first), address(arrays[1])
    found: list[Row] | None = None
    if not all(array.flags.c_contiguous for array in arrays):
        pass
    elif function is np.add and kinds <= {_FLOAT, _DOUBLE} and len(kinds) == 1:
        out = address(last)
        found = [] if out in (a, b) else [(_COPY, out, a, first.nbytes)]
        found.append((_ADD + double, out, a if out == b else b, first.size))
    elif function is np.copyto and len(kinds) == 1:
        found = [(_COPY, a, b, first.nbytes)]
    elif function is np.copyto and (first.dtype, last.dtype) == (_DOUBLE, _FLOAT):
        found = [(_WIDEN, a, b, first.size)]
    elif function in (note_squares, note_rough_squares) and last.dtype in (_FLOAT, _DOUBLE):
        found = [(_SQUARES + double, a, b, last.size)]
    return found


def _joined(rows: Sequence[Row]) -> list[Row]:
    """Join an addition with a copy of its sum to where the other summand was."""
    found: list[Row] = []
    for row in rows:
        before = found[-1] if found else (_COPY, 0, 0, 0)
        code, a, b, count = before
        if code in (_ADD, _ADD + 1):
            nbytes = count * (8 if code == _ADD + 1 else 4)
            if row == (_COPY, b, a, nbytes):
                found[-1] = (_MEET + code - _ADD, a, b, count)
                continue
        found.append(row)
    return found
