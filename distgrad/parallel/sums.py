"""Sums over all logical shards in the canonical order: losses, metrics, counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import TreeSum
from distgrad.errors import DistgradError
from distgrad.parallel.shards import current_shard
from distgrad.parallel.world import World


class ShardSum:
    """Sums named numbers over logical shards in the canonical order.

    ``add`` collects on this rank, in double precision; ``result`` is collective and returns the
    same bits on every rank, and on any number of ranks. ``names`` are the same on all ranks.
    """

    def __init__(self, world: World, *names: str) -> None:
        if not names or len(set(names)) < len(names):
            raise DistgradError(
                f"ShardSum(world, 'loss', 'correct', …) needs different names; got {names}"
            )
        self.world = world
        self.names = names
        self._sums = {s: np.zeros(len(names)) for s in world.my_shards}

    def add(self, **numbers: float | Tensor | np.generic) -> None:
        """Add numbers of the current shard (the rank's only one, outside a loader's batch).

        What an empty shard says, of a batch without a sample for this rank, does not count.
        Errors: DistgradError for a name that is not summed.
        """
        for name in numbers:
            if name not in self.names:
                raise DistgradError(
                    f"this ShardSum has no '{name}'; it sums {', '.join(self.names)}: name all "
                    f"of them when it is made, so that every rank sums the same"
                )
        position = current_shard()
        if position is not None and position.empty:
            return
        own = self._sums[self.world.my_shards[0] if position is None else position.shard]
        for i, name in enumerate(self.names):
            if name in numbers:
                own[i] += float(numbers[name])

    def result(self) -> dict[str, float]:
        """Return the sums over all shards of all ranks; call it on every rank."""
        total = tree_sum(self.world, self._sums, f"shard sum of {', '.join(self.names)}")
        return dict(zip(self.names, total.tolist(), strict=True))


def tree_sum(world: World, summands: Mapping[int, Array], name: str) -> Array:
    """Sum one vector per owned shard over all shards, canonically; on every rank the same bits."""
    local = TreeSum(world.my_shards)
    for s in world.my_shards:
        local.add(s, np.array(summands[s], np.float64))
    out = np.empty_like(summands[world.my_shards[0]], np.float64)
    world.comm.start_sum(local.parts, out, world.runs, name=name).wait()
    return out
