"""Lends modules that look at the whole batch a differentiable sum over all ranks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from distgrad.autograd.op import Op
from distgrad.autograd.types import Array
from distgrad.comm import TreeSum
from distgrad.errors import CommError
from distgrad.nn import Module
from distgrad.parallel.exchange import exchange_of
from distgrad.parallel.world import World


def lend_sums(module: Module, world: World, algorithm: str) -> None:
    """Let every part of ``module`` that needs every rank sum over the ranks of ``world``.

    Errors: CommError if there are more shards than ranks.
    """
    for name, m in module.named_modules():
        if not m.needs_every_rank:
            continue
        if world.shards != world.size:
            raise CommError(
                f"'{name}' is a {type(m).__name__} and there are {world.shards} shards on "
                f"{world.size} ranks: a shard would wait for one that runs after it on the same "
                f"rank. Use as many shards as ranks, or BatchNorm, which normalises a shard at a "
                f"time"
            )
        m._sum_over_ranks = _summing(world, algorithm, name)


def _summing(world: World, algorithm: str, name: str) -> Op:
    def total(a: Array) -> Array:
        position = world.position
        exchange = exchange_of(world, position.total, algorithm)
        # A rank has one summand, that of its gradients; without samples none.
        own = TreeSum(exchange.run)
        if not position.empty:
            own.add(position.shard, np.array(a))
        out = np.empty_like(a, order="C")
        exchange.start(own.parts, out, f"statistics of {name}").wait()
        return out

    def sum_over_ranks(a: Array) -> tuple[Array, Callable[[Array], Array]]:
        """The sum over all ranks; its gradient is the sum of all ranks' gradients."""
        return total(a), total

    return Op(sum_over_ranks, ("... -> ...",), None, (-2.0, 2.0), second_order=False)
