"""A blocking all-reduce inside a node without the machinery of a wait, as long as none is needed.

Same notices, same order of sums, same bits as ``hierarchical``, of which it is the shortest way:
the others are waited for in a spin of bounded length. When that is over, a Work goes on from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distgrad.comm import fork
from distgrad.comm.algorithms import board_sum, hierarchical
from distgrad.comm.board import SMALL, Board
from distgrad.comm.canonical import one_each
from distgrad.comm.fingerprint import encode
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Steps
from distgrad.comm.transport import Transport

_KNOWN = 4096  # calls


@dataclass(frozen=True)
class Call:
    """What is known of a call before it is made again."""

    what: str
    digest: int
    text: bytes
    additions: Sequence[tuple[Any, ...]] | None
    """What sums this rank's slice of an array in shared memory; None for a small one."""


class Quick:
    """The short way of one communicator whose ranks share the board."""

    def __init__(self, transport: Transport, board: Board) -> None:
        self._transport, self._board = transport, board
        self._state = transport.state
        self._progress = transport.state.progress(transport.context)
        self._plan = one_each(transport.size)
        self._calls: dict[object, Call] = {}

    def find(self, array: Array, algorithm: str, name: str) -> Call | None:
        """Return what is known of this call; None the first time, or if it has no short way."""
        if type(array) is not np.ndarray or not array.flags.carray:
            return None
        shared = self._transport.node.find(array)
        if shared is None and array.nbytes > SMALL:
            return None
        return self._calls.get((shared, array.dtype, array.size, algorithm, name))

    def learn(self, array: Array, algorithm: str, name: str, what: str) -> None:
        """Know a call, checked by now, the next time it is made."""
        shared = self._transport.node.find(array)
        if shared is None and array.nbytes > SMALL:
            return
        additions = None
        if shared is not None:
            additions = hierarchical.calls_in_one_node(shared, self._board.rank, self._plan)
        encoded = encode(what)
        digest = int.from_bytes(encoded[:8], "little", signed=True)
        if len(self._calls) == _KNOWN:
            self._calls.clear()
        key = (shared, array.dtype, array.size, algorithm, name)
        self._calls[key] = Call(what, digest, encoded[8:], additions)

    def all_reduce(self, call: Call, array: Array) -> tuple[Group, Steps] | None:
        """Sum the array over all ranks; if others keep this one waiting, return what is left."""
        board, progress = self._board, self._progress
        number = progress.started
        if fork.generation != self._state.generation or not board.is_free(number):
            return self._all(array, Group(self._transport))
        progress.started = number + 1
        flat = array.reshape(-1)
        if call.additions is None:
            rows = board.small(number, array.dtype, array.size)
            rows[board.place][...] = flat
        board.post(number, call.digest, call.text)
        if not board.spin_for_arrivals(number, call.digest):
            group = Group(self._transport, number)
            return self._all(flat, group)
        if call.additions is None:
            board_sum.add_rows(rows, flat, self._plan)
        else:
            for function, *arguments in call.additions:
                function(*arguments)
            board.reach(number, 1)
            if not board.spin_for_stage(number, 1):
                group = Group(self._transport, number)
                return group, hierarchical.finish_in_place(group)
        board.finish(number)
        return None

    def _all(self, array: Array, group: Group) -> tuple[Group, Steps]:
        return group, hierarchical.all_reduce(group, array.reshape(-1))
