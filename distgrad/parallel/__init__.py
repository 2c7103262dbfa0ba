"""The bridge: worlds with logical shards, buckets, and the model that is reduced over them."""

from distgrad.arguments import check_constructors as _check_constructors
from distgrad.parallel import hooks
from distgrad.parallel.ddp import DistributedDataParallel
from distgrad.parallel.local_sgd import DiLoCo, PeriodicModelAverager, PostLocalSGDOptimizer
from distgrad.parallel.shards import ShardPosition, current_shard
from distgrad.parallel.sums import ShardSum
from distgrad.parallel.walk import own_shards
from distgrad.parallel.world import World, current_world, init

__all__ = [
    "DiLoCo",
    "DistributedDataParallel",
    "PeriodicModelAverager",
    "PostLocalSGDOptimizer",
    "ShardPosition",
    "ShardSum",
    "World",
    "current_shard",
    "current_world",
    "hooks",
    "init",
    "own_shards",
]

_check_constructors(globals(), __all__, itself=["DistributedDataParallel.module"])
