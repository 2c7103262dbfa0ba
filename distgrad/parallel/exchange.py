"""How the buffers of one global batch are summed over the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from distgrad.autograd.types import Array
from distgrad.comm import Communicator, Part, Work
from distgrad.parallel.shards import ShardPosition, absent
from distgrad.parallel.world import World


@dataclass(frozen=True)
class Exchange:
    """The summands of one batch: who holds which, and which nobody has."""

    comm: Communicator
    algorithm: str
    runs: tuple[range, ...]  # the summands of each rank
    absent: range  # summands nobody has

    @property
    def run(self) -> range:
        """This rank's summands."""
        return self.runs[self.comm.rank]

    @cached_property
    def last(self) -> int:
        """The last summand this rank brings; -1 if it brings none."""
        return max((s for s in self.run if s not in self.absent), default=-1)

    def start(self, parts: Sequence[Part], out: Array, name: str) -> Work:
        """Start the sum of all ranks' parts into ``out``, which may be one of them."""
        return self.comm.start_sum(
            parts, out, self.runs, absent=self.absent, algorithm=self.algorithm, name=name
        )


def exchange_of(
    world: World, algorithm: str, position: ShardPosition | None, total: int | None = None
) -> Exchange:
    """Return the exchange of the batch ``position`` is in; without one each rank is a summand.

    ``total`` is the number of samples whose shards take part, if not those of this batch alone:
    the largest of the batches that were accumulated.
    """
    if position is None:
        runs = tuple(range(r, r + 1) for r in range(world.size))
        return Exchange(world.comm, algorithm, runs, range(0))
    gone = absent(position.total if total is None else total, world.shards)
    return Exchange(world.comm, algorithm, tuple(world.runs), gone)
