"""A bucket: parameters and gradients as views of two flat arrays, and the sum over the shards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distgrad.autograd.flat import bind_
from distgrad.autograd.tensor import Array, Tensor
from distgrad.comm import TreeSum, Work
from distgrad.parallel.canonical import Exchange


class ShardedBuffer:
    """A flat array that every shard fills and whose sum over all shards every rank gets.

    ``local`` is the current shard's; behind its ``size`` values lie ``flags`` more, which are
    summed with them (who used which parameter).
    """

    def __init__(self, size: int, flags: int, dtype: str, name: str) -> None:
        self.name = name
        self.size = size
        self.local: Array = np.zeros(size + flags, dtype)
        self.work: Work | None = None
        self._sum: TreeSum | None = None
        self._lent: list[Array] = []  # copies in use by the sum
        self._pool: list[Array] = []  # and free ones: a fresh array costs twice a reused one

    @property
    def flags(self) -> Array:
        """The extra values, one per member."""
        return self.local[self.size :]

    def add(self, exchange: Exchange, index: int) -> None:
        """Take ``local`` as summand ``index`` of the exchange; it may be written to afterwards."""
        if self._sum is None:
            self._sum = TreeSum(exchange.run)
        last = index == exchange.last
        # An odd summand is added to its neighbour at once; an even one has to wait for it.
        waits = not last and (index % 2 == 0 or index == exchange.run.start)
        self._sum.add(index, self._copy() if waits else self.local)

    def start(self, exchange: Exchange) -> None:
        """Start the sum over all shards into ``local``."""
        parts = [] if self._sum is None else self._sum.parts
        self._sum = None
        self.work = exchange.start(parts, self.local, self.name)

    def wait(self) -> None:
        """Wait until ``local`` holds the sum."""
        if self.work is not None:
            self.work.wait()
            self.work = None
            self._pool += self._lent
            self._lent = []

    def _copy(self) -> Array:
        copy = self._pool.pop() if self._pool else np.empty_like(self.local)
        np.copyto(copy, self.local)
        self._lent.append(copy)
        return copy


class Bucket:
    """Neighbouring parameters, reduced as one array."""

    def __init__(self, index: int, names: Sequence[str], params: Sequence[Tensor]) -> None:
        self.params = list(params)
        self.names = list(names)
        size = sum(p.size for p in params)
        dtype = params[0].dtype
        self.values = np.empty(size, dtype)
        span = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
        self.gradients = ShardedBuffer(size, len(params), dtype.str, f"bucket {index} ({span})")
        bind_(params, self.values, self.gradients.local)
        self.views: list[Array] = [g for p in params if (g := p._grad_buffer) is not None]
        self.previous: Array | None = None
        self.had = [False] * len(self.params)  # which parameters had gradients before the batch
        self.unfinished = len(self.params)

    def open(self, first: bool) -> None:
        """Forget the last shard's gradients; before the ``first``, keep what the user left."""
        if first:
            self.had = [p.grad is not None for p in self.params]
        if first and any(self.had):
            kept = [
                np.zeros(p.shape, p.dtype) if p.grad is None else p.grad.data for p in self.params
            ]
            self.previous = np.concatenate([k.reshape(-1) for k in kept])
        for p in self.params:
            p.grad = None

    def fill(self, spoiled: bool) -> None:
        """Complete this shard's gradients: zeros, flagged, for parameters it did not use.

        A shard that is ``spoiled`` (its loss is not finite) flags NaN, for all ranks to see.
        """
        flags = self.gradients.flags
        for i, (p, view) in enumerate(zip(self.params, self.views, strict=True)):
            flags[i] = p.grad is not None
            if p.grad is None:
                view[...] = 0
        if spoiled:
            flags[...] = np.nan

    @property
    def used(self) -> list[bool]:
        """Which parameters some shard used; known once the sum is there."""
        found: list[bool] = (self.gradients.flags != 0).tolist()
        return found

    def finish(self, left_out: bool) -> None:
        """Set the gradients; parameters used by no shard have none, as after no backward.

        If the batch is ``left_out`` they are what the user had left before it.
        """
        if self.previous is not None:
            sums = self.gradients.local[: self.previous.size]
            np.add(0 if left_out else sums, self.previous, out=sums)
            self.previous = None
        for p, view, was_used, had in zip(
            self.params, self.views, self.used, self.had, strict=True
        ):
            p.grad = Tensor(view) if had or (was_used and not left_out) else None
