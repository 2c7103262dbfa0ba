"""The bridge: worlds with logical shards, buckets, and the model that is reduced over them."""

from distgrad.parallel.ddp import DistributedDataParallel
from distgrad.parallel.shards import ShardPosition, current_shard
from distgrad.parallel.sums import ShardSum
from distgrad.parallel.walk import own_shards
from distgrad.parallel.world import World, current_world, init

__all__ = [
    "DistributedDataParallel",
    "ShardPosition",
    "ShardSum",
    "World",
    "current_shard",
    "current_world",
    "init",
    "own_shards",
]
