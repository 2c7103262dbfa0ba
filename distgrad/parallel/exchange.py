"""How the buffers of one global batch are summed over the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from distgrad.autograd.types import Array
from distgrad.comm import Communicator, Part
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
    alone: ClassVar[bool] = False
    """Whether each rank keeps its own summands (``alone.Alone``)."""

    @property
    def run(self) -> range:
        """This rank's summands."""
        return self.runs[self.comm.rank]

    @cached_property
    def last(self) -> int:
        """The last summand this rank brings; -1 if it brings none."""
        return max((s for s in self.run if s not in self.absent), default=-1)

    def start(self, parts: Sequence[Part], out: Array, name: str) -> Pending:
        """Start the sum of all ranks' parts into ``out``, which may be one of them."""
        return self.comm.start_sum(
            parts, out, self.runs, absent=self.absent, algorithm=self.algorithm, name=name
        )


def exchange_of(world: World, algorithm: str, total: int) -> Exchange:
    """Return the exchange of a batch of ``total`` samples: of several, the largest."""
    return Exchange(world.comm, algorithm, tuple(world.runs), absent(total, world.shards))
