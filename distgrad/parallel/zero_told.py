"""What ranks tell each other of gradients that they share out: norms of blocks, who used what.

Ranks of one node have these numbers in common: each writes its own as soon as its slice is summed.
Elsewhere they are summed over the ranks when all sums are there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from distgrad.autograd.layout import Part, Place
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Call, Communicator
from distgrad.optim.norms import BLOCK
from distgrad.parallel.compiled import note_squares

_YES = np.ones(1, bool)


def count_of(params: Sequence[Tensor]) -> int:
    """Return how many numbers are told of a bucket of ``params``."""
    return sum(_blocks(p) for p in params) + len(params)


def _blocks(p: Tensor | Array) -> int:
    return -(-int(p.size) // BLOCK)


class Report:
    """What is told of one bucket: the squares of its blocks, and who used which parameter.

    ``numbers`` is its part of what is told, from number ``first`` on, ``flags`` lie behind the
    gradients, and a rank that ``has_flags`` has the sums of them.
    """

    def __init__(
        self,
        numbers: Array,
        first: int,
        places: Sequence[Place],
        parts: Sequence[Part],
        flags: Array,
        has_flags: bool,
    ) -> None:
        self.told = np.zeros(1, bool)
        """Whether this rank has written its numbers of the batch."""
        self.fresh = False
        """Whether the gradients are still those that were told."""
        self._numbers, self._flags, self._has_flags = numbers, flags, has_flags
        self._told_flags = numbers[numbers.size - flags.size :]
        self.heard: list[float] = []
        """What all have told of all buckets."""
        self.squares: dict[int, slice] = {}
        """Where of it are the squares of a parameter's blocks, by the number of its slot."""
        self._blocks: list[tuple[int, Array]] = []  # own blocks, and where their squares go
        start = 0
        for place, part in zip(places, parts, strict=True):
            count = _blocks(place.value)
            self.squares[id(place.slot)] = slice(first + start, first + start + count)
            # Ranks cut arrays at the borders of blocks.
            for number, begin in enumerate(range(0, part.array.size, BLOCK), part.first // BLOCK):
                self._blocks.append((start + number, part.array[begin : begin + BLOCK]))
            start += count

    def calls(self, look: bool) -> list[Call]:
        """Return the calls that write what this rank knows: its blocks' squares, and the flags."""
        found: list[Call] = []
        if look:
            found += [
                (note_squares, self._numbers[at : at + 1], block) for at, block in self._blocks
            ]
        if self._has_flags:
            found.append((np.copyto, self._told_flags, self._flags.real))
        return [*found, (np.copyto, self.told, _YES)]

    def tell(self, look: bool) -> None:
        """Make them."""
        for function, *arrays in self.calls(look):
            function(*arrays)

    def restart(self) -> None:
        """Forget that it has."""
        self.told[0] = False

    def listen(self, heard: list[float], look: bool) -> None:
        """Take over what all have told of all buckets."""
        self._flags[...] = self._told_flags
        self.told[0] = False
        self.heard, self.fresh = heard, look


class Told:
    """The numbers of all buckets of a model; ``common`` if all ranks share memory. Collective."""

    def __init__(self, comm: Communicator, algorithm: str, count: int, *, common: bool) -> None:
        found = comm.share_once([(count, np.dtype(float))]) if common else None
        self._comm, self._algorithm = comm, algorithm
        self._late = False  # whether this rank has told of sums after they were made
        self.common = found is not None
        self.numbers: Array = np.zeros(count) if found is None else found[0]

    def restart(self) -> None:
        """Get ready for the next batch."""
        self._late = False
        if not self.common:
            self.numbers[...] = 0

    def tell(self, report: Report, look: bool) -> None:
        """Tell of a bucket, later than with its sum."""
        report.tell(look)
        self._late = True

    def agree(self, look: bool, reports: Sequence[Report]) -> bool | None:
        """Let all ranks have what each tells; whether (``look``) all sums are finite numbers.

        Memory in common is written again when all ranks sum the next batch: who is there has read.
        """
        if not self.common:
            self.add_up_(self.numbers)
        elif self._late:
            self._comm.start_barrier(name="gradients are told of").wait()
        heard: list[float] = self.numbers.tolist() if look else []
        for report in reports:
            report.listen(heard, look)
        if self._late or not self.common:
            self.restart()
        return math.isfinite(sum(heard)) if look else None

    def add_up_(self, numbers: Array) -> None:
        """Sum ``numbers``, of which all but one rank has zeros, over the ranks."""
        with np.errstate(over="ignore", invalid="ignore"):  # the sum itself tells
            self._comm.all_reduce(
                numbers, algorithm=self._algorithm, name="numbers of the ranks' parts"
            )
