"""Sums gradients over shards and ranks while backward runs.

It listens to "this leaf's gradient is final", fills buckets, and starts their collectives in index
order. It knows nothing of layers, losses or optimizers.
"""

from __future__ import annotations

from collections.abc import Sequence

from distgrad.autograd.tensor import Tensor
from distgrad.errors import CommError, GradError
from distgrad.nn import Module, SyncBatchNorm
from distgrad.parallel.bucket import Bucket, ShardedBuffer
from distgrad.parallel.canonical import Exchange, exchange_of
from distgrad.parallel.layout import make_layout
from distgrad.parallel.nonfinite import Nonfinite, all_finite, raise_nonfinite
from distgrad.parallel.shards import ShardPosition, current_shard
from distgrad.parallel.statistics import StatisticsBuffer
from distgrad.parallel.observers import Observable, take_over
from distgrad.parallel.world import World


class Reducer(Observable):
    """The GradListener of a model's parameters."""

    def __init__(
        self,
        world: World,
        module: Module,
        named: Sequence[tuple[str, Tensor]],
        *,
        bucket_bytes: int,
        algorithm: str,
        nonfinite: Nonfinite,
    ) -> None:
        super().__init__()
        self.observers = take_over(named)
        self.nonfinite = nonfinite
        self.world, self.algorithm, self.module = world, algorithm, module
        self.frozen = [(n, p) for n, p in named if not p.requires_grad]
        trained = {n: p for n, p in named if p.requires_grad}
        table = [(n, p.shape, p.dtype.str, p.dtype.itemsize) for n, p in trained.items()]
        self.layout = make_layout(table, bucket_bytes)
        self.buckets = []
        self._bucket_of: dict[Tensor, Bucket] = {}
        for index in range(len(self.layout.sizes)):
            names = [slot.name for slot in self.layout.members(index)]
            bucket = Bucket(index, names, [trained[n] for n in names])
            self.buckets.append(bucket)
            for p in bucket.params:
                p._listener = self
                self._bucket_of[p] = bucket
        self.statistics = StatisticsBuffer(module)
        self.statistics.skip_nonfinite = nonfinite == "skip"
        self.left_out = False
        """Whether the last batch was not finite and was left out; the same on all ranks."""
        self.spoiled = False
        """Set where the open shard's loss is not finite, for all ranks to be told."""
        self.synchronize = True
        """Off inside ``no_sync``: gradients pile up in the open shard and nothing is sent."""
        self._open = False  # a shard has gradients that were not handed in yet
        self._first = True  # the next shard is the first of its batch
        self._exchange: Exchange | None = None
        self._summand = 0
        self._next = 0  # the bucket whose turn it is
        self._done: ShardPosition | None = None  # the shard whose gradients were handed in
        self._flying: list[ShardedBuffer] = []

    # -- what backward tells ------------------------------------------------------------------

    def backward_started(self) -> float:
        """Open the shard, if it is not yet, and return the weight of its mean."""
        position = current_shard.get()
        self._check(position)
        if not self._open:
            for bucket in self.buckets:
                bucket.open(self._first)
            self._open, self._first = True, False
        if self.synchronize:
            self._exchange = exchange_of(self.world, self.algorithm, position)
            self._summand = self.world.rank if position is None else position.shard
            self._next = 0
            for bucket in self.buckets:
                bucket.unfinished = len(bucket.params)
            # Forward is over: the statistics of this shard are complete.
            self.statistics.add(self._exchange, self._summand, self._weight(position))
            if self._is_last():
                self._launch(self.statistics.buffer)
        return self._weight(position)

    def grad_ready(self, leaf: Tensor) -> None:
        """Count the leaf in its bucket, and start what became complete."""
        if not self.synchronize:
            return
        self._bucket_of[leaf].unfinished -= 1
        # Buckets start in index order: ranks agree on it without talking.
        while self._next < len(self.buckets) and not self.buckets[self._next].unfinished:
            self._hand_in(self.buckets[self._next])
        for buffer in self._flying:
            if buffer.work is not None:
                buffer.work.poll()

    def backward_finished(self) -> None:
        """Hand in the rest; after the last shard, wait for the sums."""
        if not self.synchronize:
            return
        while self._next < len(self.buckets):
            self._hand_in(self.buckets[self._next])
        self._open = self.spoiled = False
        self._done = current_shard.get()
        if self._is_last():
            self._finish()

    def skip_batch(self, total: int) -> None:
        """Take part in the collectives of a batch of which this rank has no sample."""
        for name, module in self.module.named_modules():
            if isinstance(module, SyncBatchNorm):
                raise CommError(
                    f"[rank {self.world.rank}/{self.world.size}] this rank has no sample of a "
                    f"batch of {total}, and '{name}' (SyncBatchNorm) on the other ranks waits for "
                    f"it; use DataLoader(drop_last=True)"
                )
        nothing = ShardPosition(step=0, shard=-1, count=0, total=total, last=True)
        self._exchange = exchange_of(self.world, self.algorithm, nothing)
        for bucket in self.buckets:
            bucket.open(first=True)
        self._launch(self.statistics.buffer)
        for bucket in self.buckets:
            self._launch(bucket.gradients)
        self._finish()

    # -- how it goes on -----------------------------------------------------------------------

    def _weight(self, position: ShardPosition | None) -> float:
        return 1.0 / self.world.size if position is None else position.weight

    def _is_last(self) -> bool:
        return self._exchange is not None and self._summand == self._exchange.last

    def _hand_in(self, bucket: Bucket) -> None:
        assert self._exchange is not None
        bucket.fill(self.spoiled)
        if self.observers:
            weight = self._weight(current_shard.get())
            for observer in self.observers:
                observer.shard_ready(
                    bucket.names, bucket.views, self._summand, weight, self.spoiled
                )
        bucket.gradients.add(self._exchange, self._summand)
        self._next += 1
        if self._is_last():
            self._launch(bucket.gradients)

    def _launch(self, buffer: ShardedBuffer) -> None:
        assert self._exchange is not None
        if buffer.local.size:
            buffer.start(self._exchange)
            self._flying.append(buffer)

    def _finish(self) -> None:
        self.statistics.finish()
        for bucket in self.buckets:
            bucket.gradients.wait()
        self._flying.clear()
        self._first = True
        finite = None if self.nonfinite == "continue" else all_finite(self.buckets)
        self._show(finite)
        self.left_out = finite is False and self.nonfinite == "skip"
        for bucket in self.buckets:
            bucket.finish(self.left_out)
        if finite is False and self.nonfinite == "raise":
            raise_nonfinite(self.buckets, self.world)

    def _show(self, finite: bool | None) -> None:
        if self.observers:
            grads = {
                name: view if used else None
                for b in self.buckets
                for name, view, used in zip(b.names, b.views, b.used, strict=True)
            }
            for observer in self.observers:
                observer.batch_ready(grads, finite, self.world)

    def _check(self, position: ShardPosition | None) -> None:
        thawed = next((n for n, p in self.frozen if p.requires_grad), None)
        if thawed is not None:
            raise GradError(
                f"'{thawed}' was frozen when DistributedDataParallel was made and requires "
                f"gradients now; they would differ between ranks. Make it anew after requires_grad_"
            )
        if position is not None and position is self._done:
            raise GradError(
                f"a second backward pass in shard {position.shard} of step {position.step}, whose "
                f"gradients were handed in by the first; run all but the last one inside "
                f"`with ddp.no_sync():`, or add the losses up"
            )
        if position is None and self.world.canonical and self.world.shards > 1:
            raise GradError(
                f"shards={self.world.shards} was asked for, but backward runs outside a shard: "
                f"loop over `for x, y in batch` of a dg.data.DataLoader batch, or over "
                f"`dg.own_shards(world, step, total)`"
            )
