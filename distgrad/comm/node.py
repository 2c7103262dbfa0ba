"""What a rank has of its node: who shares its memory, and what lies there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from weakref import WeakValueDictionary

import numpy as np

from distgrad.comm.board import Board
from distgrad.comm.message import Array
from distgrad.comm.topology import Topology

_PAGE = 4096  # bytes
Spec: TypeAlias = tuple[int, np.dtype[np.generic], int]
"""What is shared: elements, their dtype, the arrays each rank has of it."""
Call: TypeAlias = tuple[Any, ...]
"""A function of arrays and its arguments."""


class Meeting(Protocol):
    """The calls of a collective with the waiting before and after them, in one compiled call."""

    def __call__(self, number: int, digest: int, looks: int, summed: bool) -> int:
        """Go on with collective ``number`` and return how far it came.

        0: not all others have come; 1: one of them posted another digest; 2: the calls were made,
        and that was told; 3: all others have told it, too. Each wait looks ``looks`` times, and
        what comes before is skipped if the calls were made already (``summed``). A barrier is at 3
        as soon as all have come.
        """

    def at_once(self, number: int, digest: int, text: bytes, looks: int) -> int:
        """Say that this rank is in a collective that nobody knows of yet, and go on with it.

        What 3 is told as well: nothing is left of the collective.
        """

    def arrived(self) -> float:
        """Return the part of the last call's time after which all others had come."""


Compiler: TypeAlias = Callable[[Board, Sequence[Call] | None], Meeting | None]
"""Makes one, unless it has no compiled form of some call; of no calls (None) a barrier."""


class Node:
    """The surroundings of a rank in a group of ``size``; nothing is shared until it is met."""

    def __init__(self, size: int) -> None:
        self.topology = Topology(tuple((rank,) for rank in range(size)))
        self.board: Board | None = None
        """The memory of this node's ranks; None where this one shares with nobody."""
        self.compiler: Compiler | None = None
        """What makes sums over shared arrays quick, if there is something."""
        self._arrays: WeakValueDictionary[int, SharedArray] = WeakValueDictionary()

    def keep(self, shared: SharedArray) -> None:
        """Know a shared array again, as long as someone holds it."""
        self._arrays[address(shared.own)] = shared

    def find(self, array: Array) -> SharedArray | None:
        """Return the shared array that ``array`` is this rank's part of, None if it is none."""
        found = self._arrays.get(address(array)) if self._arrays else None
        same = found is not None and found.own.size == array.size and found.own.dtype == array.dtype
        return found if same else None


@dataclass(frozen=True, eq=False)
class SharedArray:
    """Arrays of the same shape, one for each rank of this node, which all of them can read."""

    of: dict[int, Array]
    """By rank."""
    own: Array
    companions: Sequence[SharedArray] = ()
    """Further ones, for ranks whose run of summands makes several parts."""
    calls: dict[object, list[Call]] = field(default_factory=dict)
    """What an algorithm has worked out for it, to be called again with the next sum."""
    after: list[Callable[[Array], Sequence[Call]]] = field(default_factory=list)
    """Returns the calls that look at the slice that this rank has summed, before others go on."""


def cut_arrays(
    memory: memoryview, ranks: Sequence[int], rank: int, specs: Sequence[Spec]
) -> list[SharedArray]:
    """Cut memory into the arrays of ``specs``, each in pages of its own."""
    at = 0

    def one(nbytes: int, dtype: np.dtype[np.generic], more: Sequence[SharedArray]) -> SharedArray:
        nonlocal at
        of = {}
        for r in ranks:
            of[r] = np.frombuffer(memory, dtype, nbytes // dtype.itemsize, at)
            at += _pages(nbytes)
        return SharedArray(of, of[rank], more)

    found = []
    for count, dtype, arrays in specs:
        nbytes = count * dtype.itemsize
        companions = [one(nbytes, dtype, ()) for _ in range(arrays - 1)]
        found.append(one(nbytes, dtype, companions))
    return found


def bytes_for(ranks: int, specs: Sequence[Spec]) -> int:
    """Return the bytes that ``cut_arrays`` cuts for a node of so many ranks."""
    each = sum(_pages(count * dtype.itemsize) * arrays for count, dtype, arrays in specs)
    return max(_PAGE, ranks * each)


def _pages(nbytes: int) -> int:
    return -(-nbytes // _PAGE) * _PAGE


def address(array: Array) -> int:
    """Return where an array's memory begins, in this process."""
    start: int = array.__array_interface__["data"][0]
    return start
