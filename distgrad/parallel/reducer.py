"""Sums gradients over shards and ranks while backward runs.

It listens to "this leaf's gradient is final", fills buckets, and starts their collectives in index
order. It knows nothing of layers, losses or optimizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Annotated, Literal, TypeAlias

from distgrad.autograd.tensor import Tensor
from distgrad.errors import GradError
from distgrad.heap import give_back_freed
from distgrad.kinds import one_of
from distgrad.nn import Module
from distgrad.parallel.agreement import Agreement
from distgrad.parallel.alone import alone
from distgrad.parallel.bucket import Bucket, ShardedBuffer, cut, make_buckets
from distgrad.parallel.compiled import compile_sums
from distgrad.parallel.exchange import Exchange, exchange_of
from distgrad.parallel.hooks.register import CommHook
from distgrad.parallel.nonfinite import Nonfinite, Verdict, raise_nonfinite
from distgrad.parallel.observers import Observable, take_over
from distgrad.parallel.shards import ShardPosition, current_shard
from distgrad.parallel.statistics import StatisticsBuffer
from distgrad.parallel.world import World
from distgrad.parallel.zero import Shares, at_once
from distgrad.parallel.zero_fetch import Fleeting, fetch_for
from distgrad.tracing import traced

_REDUCTIONS = "'mean' or 'sum' over its samples (reduce a loss of one number a sample yourself)"
Reduction: TypeAlias = Annotated[
    Literal["mean", "sum"], one_of("mean", "sum")._replace(words=_REDUCTIONS)
]
# Seconds in which a network of 10 Gbit/s moves 0.25 MiB, which wait in the system's memory.
_MOMENT = 2e-4


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
        reduction: Reduction,
        agreement: Agreement,
        zero: int = 0,
    ) -> None:
        super().__init__()
        self.observers = take_over(named)
        self.nonfinite, self.reduction, self.agreement = nonfinite, reduction, agreement
        self.world, self.algorithm = world, algorithm
        self.frozen = [(n, p) for n, p in named if not p.requires_grad]
        trained = [(n, p) for n, p in named if p.requires_grad]
        look = nonfinite != "continue"
        compile_sums(world.comm)
        self.shares = Shares(world, algorithm, zero, Fleeting, look=look) if zero else None
        self._fetched: Shares | None = None  # whose values are here while they are used
        self.buckets = make_buckets(world, cut(trained, bucket_bytes), self.shares)
        if self.shares is not None:
            fetch_for(self.shares, module)
            self._fetched = self.shares if self.shares.fetches else None
            # Of parameters that are here while they are used there is nothing to compare.
            agreement.same_weights &= not self.shares.fetches
        # Values that are here while they are used leave when a leaf is told of.
        self.early = not world.comm.topology.one_node and self._fetched is None
        self.verdict = Verdict(world, self.buckets) if look and not zero else None
        self._bucket_of = {p: bucket for bucket in self.buckets for p in bucket.params}
        for p in self._bucket_of:
            p._listener = self
        self.statistics = StatisticsBuffer(module.modules())
        self.statistics.watch()
        self.statistics.skip_nonfinite = nonfinite == "skip"
        self.hook: CommHook | None = None
        """What sums the buckets in the algorithm's place."""
        self.left_out = False
        """Whether the last batch was not finite and was left out; the same on all ranks."""
        self.pass_nonfinite = False
        """Set before a backward pass whose loss is not finite, for all ranks to be told."""
        self._loss_nonfinite = False  # whether a loss of the open shard was not
        self.synchronize = True
        """Off inside ``no_sync``: gradients stay with their shard and nothing is sent."""
        self._stepped = False  # whether an optimizer has
        self._open = False  # a shard has gradients that were not handed in yet
        self._position = world.position  # that shard
        self._first = True  # the next shard is the first since gradients were summed
        self._unfinished = True  # sums of the last batch may be under way, or not taken notice of
        self._samples = 0  # of the largest batch since then
        self._exchange: Exchange | None = None
        self._exchanges: dict[int, Exchange] = {}  # by the number of shards with samples
        self._next = 0  # the bucket whose turn it is
        self._done: ShardPosition | None = None  # the shard whose gradients were handed in
        self._flying: list[ShardedBuffer] = []
        self._polled = 0.0  # when what is on its way was last looked at between layers

    # -- what backward tells ------------------------------------------------------------------

    def backward_started(self) -> float:
        """Open the shard, if it is not yet, and return the weight of its loss."""
        position = self.world.position
        self._check(position)
        if self._fetched is not None:
            self._fetched.backward_started()
        if self._open and self._zeroed():
            self._forget()
        if not (self._open and position is self._position):
            self._enter(position)
        self._loss_nonfinite |= self.pass_nonfinite
        self.pass_nonfinite = False
        if self.statistics.modules:  # forward is over: the statistics of this pass are complete
            self.statistics.gather(position.weight)
        if self.synchronize:
            self._prepare(position)
        return self._weight(position)

    def grad_ready(self, leaf: Tensor) -> None:
        """Count the leaf in its bucket, and start what became complete."""
        if not self.synchronize:
            return
        bucket = self._bucket_of[leaf]
        bucket.unfinished = unfinished = bucket.unfinished - 1
        if self._flying:
            self._flying = [buffer for buffer in self._flying if not buffer.poll()]
        if not unfinished:
            # Buckets start in index order: ranks agree on it without talking.
            while self._next < len(self.buckets) and not self.buckets[self._next].unfinished:
                self._hand_in(self.buckets[self._next])
        shares = self.shares
        if shares is not None and shares.flying:
            shares.poll()

    def poll(self) -> None:
        """Let what is on its way come nearer, unless that was done a moment ago."""
        now = perf_counter()
        if self._flying and now - self._polled > _MOMENT:
            self._flying = [buffer for buffer in self._flying if not buffer.poll()]
            self._polled = now

    def backward_finished(self) -> None:
        """Hand in the rest; after the last shard, wait for the sums."""
        if self._fetched is not None:
            self._fetched.backward_finished()
        if not self.synchronize:
            return
        while self._next < len(self.buckets):
            self._hand_in(self.buckets[self._next])
        self._open = self._loss_nonfinite = False
        self._done = current_shard()
        if self._position.last:
            self._finish()

    def optimizer_stepped(self, optimizer: object) -> None:
        """Let the ranks agree on its settings, and have what each has moved."""
        if self.agreement.due:
            self.agreement.optimizer_stepped(optimizer)
        if not self._stepped:  # its state was made among arrays of a first pass, which are gone
            self._stepped = True
            self.give_back_freed()
        if self.shares is not None:
            self.shares.optimizer_stepped(optimizer)

    def give_back_freed(self) -> None:
        """Give back what the C library has kept of arrays as large as the buckets' that went."""
        give_back_freed(sum(bucket.values.nbytes for bucket in self.buckets))

    def compare(self, name: str, value: float) -> None:
        """Raise MismatchError unless all ranks have the same ``value``; collective."""
        self.agreement.compare_now({name: value})

    # -- shards -------------------------------------------------------------------------------

    def _enter(self, position: ShardPosition) -> None:
        """Make ``position`` the open shard; one that was not handed in keeps its gradients."""
        if self._open and not self._position.empty:
            for bucket in self.buckets:
                bucket.fill(self._loss_nonfinite)
                bucket.gradients.keep(self._position.shard)
            if self.statistics.modules:
                self.statistics.buffer.keep(self._position.shard)
        if self._first:
            for bucket in self.buckets:
                bucket.begin()
        self._open, self._first, self._position = True, False, position
        shard, empty = position.shard, not position.count
        self._loss_nonfinite = False
        for bucket in self.buckets:
            self._loss_nonfinite |= bucket.open(shard, empty)
        if self.statistics.modules:
            self.statistics.open(shard, empty)
        self._samples = max(self._samples, position.total)

    def _prepare(self, position: ShardPosition) -> None:
        """Get ready to hand in the open shard."""
        kind = min(self._samples, self.world.shards)  # shards beyond the samples are absent
        exchange = self._exchanges.get(kind)
        if exchange is None:
            exchange = exchange_of(self.world, self._samples, self.algorithm)
            self._exchanges[kind] = exchange
        if self.hook is not None and self.hook.alone():
            exchange = alone(exchange, self._samples, self.world.shards)
            self.agreement.same_weights = False
        self._exchange = exchange
        self._next = 0
        for bucket in self.buckets:
            bucket.unfinished = len(bucket.params)
        if position.first:
            if self._unfinished:
                self._restart()
            self._unfinished = True
        if position.last:
            self.agreement.check()
        if self.statistics.modules:
            if position.count:
                self.statistics.buffer.add(exchange, position.shard)
            if position.last:
                self._launch(self.statistics.buffer)

    def _restart(self) -> None:
        """Forget the sums of a batch that was left unfinished (an exception, a ``break``)."""
        if self.verdict is not None:
            self.verdict.restart()
        if self.shares is not None:
            self.shares.restart()
        self.statistics.buffer.restart()
        for bucket in self.buckets:
            bucket.gradients.restart()

    def _zeroed(self) -> bool:
        """Whether the user has dropped the gradients that were gathered without being summed."""
        return all(p.grad is None for p in self._bucket_of)

    def _forget(self) -> None:
        self._open, self._first, self._samples = False, True, 0
        for bucket in self.buckets:
            bucket.gradients.forget()
            bucket.previous = None
        self.statistics.buffer.forget()

    def _weight(self, position: ShardPosition) -> float:
        return float(not position.empty) if self.reduction == "sum" else position.weight

    # -- buckets ------------------------------------------------------------------------------

    def _hand_in(self, bucket: Bucket) -> None:
        assert self._exchange is not None
        if self._position.count:
            bucket.fill(self._loss_nonfinite)
            if self.observers:
                self._show_shard(bucket)
            bucket.gradients.add(self._exchange, self._position.shard)
        if self._fetched is not None and bucket.share is not None:
            bucket.share.release()
        self._next += 1
        if self._position.last:
            self._launch(bucket.gradients)

    def _launch(self, buffer: ShardedBuffer) -> None:
        assert self._exchange is not None
        if self.shares is not None and self.shares.stage >= 2:
            self._make_room()
        # After the last one there is nothing to be done but to wait.
        buffer.start(self._exchange, at_once=not self._flying and self._next == len(self.buckets))
        self._flying.append(buffer)

    def _make_room(self) -> None:
        """Wait until so few buckets are on their way that one more may be, with its scratch."""
        flying = [buffer for buffer in self._flying if buffer.work is not None]
        for buffer in flying[: 1 - at_once(self.world.size)]:
            buffer.wait()

    @traced("reduction")
    def _finish(self) -> None:
        if self.statistics.modules:
            self.statistics.finish()
        shares = self.shares
        for bucket in self.buckets:
            bucket.gradients.wait()
            share = bucket.share
            if share is not None and not share.report.told[0]:
                share.tell()  # while the next sums are on their way
        self._flying.clear()
        self._first, self._samples = True, 0
        if shares is not None:
            finite = shares.agree()
            shares.summed()
        else:
            finite = None if self.verdict is None else self.verdict.finite()
        self._unfinished = False
        if self.observers:
            self._show_batch(finite)
        self.left_out = finite is False and self.nonfinite == "skip"
        for bucket in self.buckets:
            bucket.finish(self.left_out)
        if self.hook is not None:
            self.hook.batch_over(self.left_out)
        if finite is False and self.nonfinite == "raise":
            raise_nonfinite(self.buckets, self.world)

    def _show_shard(self, bucket: Bucket) -> None:
        shard, weight = self._position.shard, self._weight(self._position)
        for observer in self.observers:
            observer.shard_ready(bucket.names, bucket.views, shard, weight, self._loss_nonfinite)

    def _show_batch(self, finite: bool | None) -> None:
        grads = {
            name: view if used else None
            for b in self.buckets
            for name, view, used in zip(b.names, b.views, b.used, strict=True)
        }
        for b in self.buckets:
            b.gather_sums()
        for observer in self.observers:
            observer.batch_ready(grads, finite, self.world)
        for b in self.buckets:
            b.gradients.give_back()

    def _check(self, position: ShardPosition) -> None:
        for name, p in self.frozen:
            if p.requires_grad:
                raise GradError(
                    f"'{name}' was frozen when DistributedDataParallel was made and requires "
                    f"gradients now; they would differ between ranks. Train on with a copy, and "
                    f"what belongs to it: model = copy.deepcopy(model).requires_grad_()"
                )
        # With one shard a rank, a second pass adds up as in another batch: PyTorch's meaning.
        alone = position.first and position.last and not self.world.canonical
        if not alone and position is self._done:
            raise GradError(
                f"a second backward pass in shard {position.shard} of step {position.step}, whose "
                f"gradients were handed in by the first; run all but the last one inside "
                f"`with ddp.no_sync():`, or add the losses up"
            )
        if self.world.canonical and self.world.shards > 1 and current_shard() is None:
            raise GradError(
                f"shards={self.world.shards} was asked for, but backward runs outside a shard: "
                f"loop over `for x, y in batch.shards` of a dg.data.DataLoader batch, or over "
                f"`dg.own_shards(world, step, total)`"
            )
