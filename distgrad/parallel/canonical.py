"""Walking a rank's shards of a global batch, and sums over all shards in the canonical order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from distgrad.autograd.mode import is_grad_enabled
from distgrad.autograd.random import enter_shard
from distgrad.autograd.tensor import Array
from distgrad.comm import Communicator, Part, TreeSum, Work
from distgrad.parallel.shards import ShardPosition, absent, current_shard, split
from distgrad.parallel.world import World


def own_shards(world: World, step: int, total: int) -> Iterator[range]:
    """Yield the sample range of each shard this rank owns, entering it.

    Entering a shard sets its weight, its random numbers and whether gradients are complete after
    it, for ``backward`` and dropout to find. ``step`` numbers the batch, ``total`` its samples.
    """
    ranges = split(total, world.shards)
    mine = [s for s in world.my_shards if ranges[s]]
    try:
        for s in mine:
            position = ShardPosition(step, s, len(ranges[s]), total, last=s == mine[-1])
            current_shard.set(position)
            enter_shard(step, s)
            yield ranges[s]
        if not mine and is_grad_enabled():
            # The other ranks' backward passes start collectives: this rank takes part in them.
            for participant in world.participants():
                participant.skip_batch(total)
    finally:
        current_shard.set(None)


class ShardSum:
    """Sums vectors over logical shards in the canonical order: losses, metrics, counts.

    ``add`` collects on this rank, in double precision; ``result`` is collective and returns the
    same bits on every rank, and on any number of ranks.
    """

    def __init__(self, world: World, size: int) -> None:
        self.world = world
        self._sums = {s: np.zeros(size) for s in world.my_shards}
        self._size = size

    def add(self, values: Array | list[float]) -> None:
        """Add a vector of the current shard (the rank's only one, outside a loader's batch)."""
        position = current_shard.get()
        shard = self.world.my_shards[0] if position is None else position.shard
        self._sums[shard] += np.asarray(values, np.float64)

    def result(self) -> Array:
        """Return the sum over all shards of all ranks; call it on every rank."""
        return tree_sum(self.world, self._sums, self._size)


def tree_sum(world: World, summands: dict[int, Array], size: int) -> Array:
    """Sum one vector of length ``size`` per owned shard over all shards, canonically."""
    local = TreeSum(world.my_shards)
    for s in world.my_shards:
        local.add(s, summands[s].copy())
    out = np.empty(size)
    world.comm.start_sum(local.parts, out, world.runs, name="shard sum").wait()
    return out


@dataclass(frozen=True)
class Exchange:
    """How the buffers of one global batch are summed over the ranks."""

    comm: Communicator
    algorithm: str
    runs: tuple[range, ...]  # the summands of each rank
    absent: range  # summands nobody has
    last: int  # this rank's last summand

    @property
    def run(self) -> range:
        """This rank's summands."""
        return self.runs[self.comm.rank]

    def start(self, parts: Sequence[Part], out: Array, name: str) -> Work:
        """Start the sum of all ranks' parts into ``out``, which may be one of them."""
        return self.comm.start_sum(
            parts, out, self.runs, absent=self.absent, algorithm=self.algorithm, name=name
        )


def exchange_of(world: World, algorithm: str, position: ShardPosition | None) -> Exchange:
    """Return the exchange of the batch ``position`` is in; without one each rank is a summand."""
    if position is None:
        runs = tuple(range(r, r + 1) for r in range(world.size))
        return Exchange(world.comm, algorithm, runs, range(0), world.rank)
    gone = absent(position.total, world.shards)
    mine = [s for s in world.my_shards if s not in gone]
    return Exchange(world.comm, algorithm, tuple(world.runs), gone, mine[-1] if mine else -1)
