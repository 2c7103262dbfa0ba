"""Lends SyncBatchNorm a sum over all ranks that gradients flow through."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import Op
from distgrad.autograd.tensor import Array
from distgrad.comm import TreeSum
from distgrad.errors import CommError
from distgrad.nn import Module, SyncBatchNorm
from distgrad.parallel.canonical import exchange_of
from distgrad.parallel.shards import current_shard
from distgrad.parallel.world import World


def attach(module: Module, world: World, algorithm: str) -> None:
    """Let every SyncBatchNorm of ``module`` sum over the ranks of ``world``.

    Errors: CommError if there are more shards than ranks.
    """
    for name, m in module.named_modules():
        if not isinstance(m, SyncBatchNorm):
            continue
        if world.shards != world.size:
            raise CommError(
                f"'{name}' is a SyncBatchNorm and there are {world.shards} shards on {world.size} "
                f"ranks: a shard would wait for one that runs after it on the same rank. Use as "
                f"many shards as ranks, or BatchNorm, which normalises a shard at a time"
            )
        m._sum = _summing(world, algorithm, name)


def _summing(world: World, algorithm: str, name: str) -> Op:
    def total(a: Array) -> Array:
        position = current_shard.get()
        exchange = exchange_of(world, algorithm, position)
        # Each rank has one summand: the one it would hand its gradients in as.
        own = TreeSum(exchange.run)
        own.add(world.rank if position is None else position.shard, np.array(a))
        out = np.empty_like(a, order="C")
        exchange.start(own.parts, out, f"statistics of {name}").wait()
        return out

    def sum_over_ranks(a: Any) -> Any:
        """The sum over all ranks; its gradient is the sum of all ranks' gradients."""
        return total(a), total

    return Op(sum_over_ranks, ("... -> ...",), None, (-2.0, 2.0), second_order=False)
