"""Walking a rank's logical shards of a global batch.

Every rank walks at least one: where it has no sample of a batch, a shard of length 0. So all ranks
run the same statements, and whatever these communicate stays in step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distgrad.autograd.stream import in_shard
from distgrad.parallel.shards import Origin, ShardPosition, enter, leave, split
from distgrad.parallel.world import World


def own_shards(
    world: World,
    step: int,
    total: int,
    *,
    calls: dict[int, int] | None = None,
    source: int = 0,
    origin: Origin | None = None,
) -> Iterator[range]:
    """Yield the sample range of each shard this rank owns, entering it.

    Entering a shard sets its weight, its random numbers and whether gradients are complete after
    it, for ``backward`` and dropout to find. ``step`` numbers the batch, ``total`` its samples. A
    rank without a sample of it gets one empty range: its loss has weight 0, its gradients are
    left out of the sum. ``calls`` counts the random draws of each shard over several walks of one
    batch, ``source`` keys them beside the step; ``origin`` is what the batch came from, compared
    between the ranks.
    """
    calls = {} if calls is None else calls
    for rows, position in positions(world, step, total, origin):
        with inside(position, calls, source):
            yield rows


def positions(
    world: World, step: int, total: int, origin: Origin | None = None
) -> list[tuple[range, ShardPosition]]:
    """Return the sample range and the position of each shard this rank walks, entering none."""
    ranges = split(total, world.shards)
    mine = [s for s in world.my_shards if ranges[s]] or [world.my_shards[0]]
    found = []
    for s in mine:
        ends = (s == mine[0], s == mine[-1])
        position = ShardPosition(step, s, len(ranges[s]), total, *ends, origin)
        found.append((ranges[s], position))
    return found


@contextmanager
def inside(position: ShardPosition, calls: dict[int, int], source: int) -> Iterator[None]:
    """Be in a shard, and draw its random numbers."""
    enter(position)
    try:
        with in_shard(position.step, position.shard, calls, source):
            yield
    finally:
        leave(position)
