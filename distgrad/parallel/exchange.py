"""How the buffers of one global batch are summed over the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from distgrad.autograd.types import Array
from distgrad.comm import AUTO, Communicator, KnownSum, Part
from distgrad.parallel.future import Pending
from distgrad.parallel.shards import absent
from distgrad.parallel.world import World


@dataclass(frozen=True)
class Exchange:
    """The summands of one batch: who holds which, and which nobody has."""

    comm: Communicator
    algorithm: str
    runs: tuple[range, ...]  # the summands of each rank
    absent: range  # summands nobody has
    canonical: bool  # whether "auto" keeps to the same bits on any number of ranks
    alone: ClassVar[bool] = False
    """Whether each rank keeps its own summands (``alone.Alone``)."""
    _known: dict[str, tuple[KnownSum, Array]] = field(init=False, default_factory=dict)

    @property
    def run(self) -> range:
        """This rank's summands."""
        return self.runs[self.comm.rank]

    @cached_property
    def last(self) -> int:
        """The last summand this rank brings; -1 if it brings none."""
        return max((s for s in self.run if s not in self.absent), default=-1)

    @cached_property
    def only(self) -> int:
        """The summand of a rank that can bring no other; -1 if it could."""
        return self.run.start if len(self.run) == 1 else -1

    def start(self, parts: Sequence[Part], out: Array, name: str) -> Pending:
        """Start the sum of all ranks' parts into ``out``, which may be one of them."""
        return self._start(parts, out, name, None)

    def scatter(
        self, parts: Sequence[Part], out: Array, slices: Sequence[slice], name: str
    ) -> Pending:
        """Start the same sum, of which each rank gets its own of the ``slices`` alone."""
        return self._start(parts, out, name, slices)

    def _start(
        self, parts: Sequence[Part], out: Array, name: str, slices: Sequence[slice] | None
    ) -> Pending:
        return self.know(out, name, slices).start([array for _, _, array in parts], out)

    def know(self, out: Array, name: str, slices: Sequence[slice] | None) -> KnownSum:
        """Return what ``start`` (or, with slices, ``scatter``) finds out first."""
        known, target = self._known.get(name, (None, None))
        if known is None or target is not out:
            known = self.comm.know_sum(
                out,
                self.runs,
                absent=self.absent,
                algorithm=self.algorithm,
                canonical=self.canonical,
                slices=slices,
                name=name,
            )
            self._known[name] = known, out
        return known


def exchange_of(world: World, total: int, algorithm: str = AUTO) -> Exchange:
    """Return the exchange of a batch of ``total`` samples: of several, the largest."""
    gone = absent(total, world.shards)
    return Exchange(world.comm, algorithm, tuple(world.runs), gone, world.canonical)
