"""DataLoader: global batches in an order that does not depend on the number of ranks."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from distgrad.autograd import stream
from distgrad.autograd.types import Array
from distgrad.data import settings
from distgrad.data.batch import Batch
from distgrad.data.clocked import clocked
from distgrad.data.dataset import IterableDataset
from distgrad.data.order import (
    Batched,
    Order,
    Plain,
    Sampled,
    digest_of,
    digest_of_sample,
    own_samples,
)
from distgrad.data.reading import fingerprint
from distgrad.data.recipe import Recipe
from distgrad.data.sampler import BatchSampler, RandomSampler, SequentialSampler, seed_of
from distgrad.data.settings import NOT_GIVEN, NotGiven
from distgrad.data.streaming import StreamReader, read_ahead, stretches
from distgrad.data.workers import Workers
from distgrad.errors import DataError
from distgrad.parallel.shards import Origin, ShardPosition
from distgrad.parallel.walk import positions
from distgrad.parallel.world import World, current_world


class DataLoader:
    """Iterates over batches of ``dataset``; every iteration is one epoch, the next one.

    With ``global_batch_size`` it gives global batches, of which each rank walks its logical shards:
    ``for batch in loader: for x, y in batch.shards``; x and y are arrays. An iteration that was
    left early is continued by the next one: to look at a batch first, take another loader.

    With ``batch_size`` it is PyTorch's: ``for x, y in loader``, Tensors (``default_collate``) of
    this rank's part of the batch; every iteration is a new epoch. It counts the samples of all
    ranks together, so that a script keeps its result on any number of ranks; with a sampler that
    has ``num_replicas`` and ``rank`` (DistributedSampler) those of one rank, as in PyTorch. A rank
    without a sample of a small batch gets arrays of length 0.

    Either way the order of an epoch is a permutation keyed by (seed, epoch), the same on any number
    of ranks; ``generator`` is another way to give the seed. The last batch may be smaller, and is
    weighted accordingly, unless ``drop_last``. ``num_workers`` processes read ahead (of a
    stream one); order and bits stay. Errors: DataError for settings that do not go together, an
    empty data set, or a ``global_batch_size`` with fewer samples than logical shards.
    """

    def __init__(
        self,
        dataset: Any,
        global_batch_size: int | None = None,
        *,
        batch_size: int | NotGiven | None = NOT_GIVEN,
        shuffle: bool | None = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], object] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        seed: int | None = None,
        world: World | None = None,
    ) -> None:
        settings.check_foreign(multiprocessing_context, in_order, pin_memory_device)
        settings.check_sizes(global_batch_size, batch_size, batch_sampler)
        given = {
            "batch_size": not isinstance(batch_size, NotGiven) and batch_size != 1,
            "global_batch_size": global_batch_size is not None,
            "shuffle": bool(shuffle),
            "drop_last": drop_last,
        }
        settings.check_samplers(sampler, batch_sampler, given)
        self._background = settings.background(
            num_workers, prefetch_factor, persistent_workers, timeout
        )
        self.is_stream = isinstance(dataset, IterableDataset)
        if self.is_stream:
            settings.check_stream(sampler, batch_sampler, shuffle)
        settings.check_single(dataset, self.is_stream, batch_size is None, drop_last)
        self.dataset, self.collate_fn = dataset, collate_fn
        self.shuffle, self.drop_last = bool(shuffle), drop_last
        self.num_workers, self.pin_memory = num_workers, pin_memory
        self.prefetch_factor, self.persistent_workers = prefetch_factor, persistent_workers
        self.timeout, self.worker_init_fn, self.generator = timeout, worker_init_fn, generator
        self.world = world or current_world()
        self._tensors = global_batch_size is None
        size = 1 if isinstance(batch_size, NotGiven) or batch_size is None else batch_size
        self.batch_size = None if batch_size is None or batch_sampler is not None else size
        """Samples in a batch; None where samples or a sampler's batches are taken as they come."""
        self._single = batch_size is None
        self._own = self._own_samples(batch_sampler if sampler is None else sampler)
        ranks = self._own or 1
        by_size = 0 if batch_sampler is not None else size * ranks
        self.global_batch_size = by_size if global_batch_size is None else global_batch_size
        self._sampler, self._batch_sampler = sampler, batch_sampler
        self._seed = seed_of(generator) if seed is None else seed
        self.epoch = 0
        self.batch = 0
        """The next batch of the epoch: a state taken inside the loop continues after this one."""
        self._continues = False  # the next iteration goes on where a state was taken
        self._contents: str | None = None
        self._workers: Workers | None = None
        self._check()
        self._order_of_batches = self._make_order(size)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in settings.FIXED and "_order_of_batches" in vars(self):
            raise DataError(
                f"{name}= of a DataLoader cannot be set any more: its order is made; make another"
            )
        super().__setattr__(name, value)

    @property
    def seed(self) -> int:
        """What the order is keyed by beside the epoch: by default 0, or ``dg.manual_seed``'s."""
        usual = stream.seed.get() if self._tensors else 0
        return usual if self._seed is None else self._seed

    @property
    def sampler(self) -> Any:
        """The sampler that was given, or one that gives this loader's order; None of a stream."""
        if self._sampler is not None or self._batch_sampler is not None or self.is_stream:
            return self._sampler
        if not self.shuffle:
            return SequentialSampler(self.dataset)
        own = RandomSampler(self.dataset, generator=self.seed)
        own.epoch = self.epoch
        return own

    @property
    def batch_sampler(self) -> Any:
        """The sampler of batches that was given, or what is the same; None if there are none."""
        if self._batch_sampler is not None or self.is_stream or self._single:
            return self._batch_sampler
        size = self.batch_size if self._own else self.global_batch_size
        return BatchSampler(self.sampler, size or 1, self.drop_last)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        if self.is_stream:
            try:
                n = len(self.dataset)
            except TypeError:
                raise TypeError(
                    f"a {type(self.dataset).__name__} is a stream that has no __len__, so that the "
                    f"number of batches is not known: define it, the number of samples"
                ) from None
            return len(Plain(n, self.global_batch_size, False, self.drop_last))
        return len(self._order_of_batches)

    def __iter__(self) -> Iterator[Any]:
        return self._values() if self._tensors else self.batches()

    def batches(self) -> Iterator[Batch]:
        """Yield the global batches of the epoch, of either kind of loader, from the next one on."""
        for batch in self._from(self.epoch, self.batch):
            self.batch += 1
            after = self.epoch, self.batch
            yield batch
            if after != (self.epoch, self.batch):  # nested, such loops would never end
                raise DataError(
                    "a loop over a DataLoader cannot go on: another loop over the same one has "
                    "taken batches meanwhile. Make a second DataLoader over the same data for it"
                )
        self.epoch, self.batch = self.epoch + 1, 0

    def whole(self) -> Iterator[Batch]:
        """Yield the global batches of a whole epoch; a loader left half-way stays where it is."""
        return self._from(self.epoch, 0) if self.batch else self.batches()

    def _values(self) -> Iterator[Any]:
        """Yield this rank's part of each batch of a new epoch, as PyTorch's loader does."""
        self._check_one_part()
        if self.batch and not self._continues:  # another iteration was left early, or goes on
            self.epoch, self.batch = self.epoch + 1, 0
        self._continues = False
        epoch, number = self.epoch, self.batch
        for batch in self._from(epoch, number):
            number += 1
            if self.epoch == epoch:
                self.batch = number
            yield from batch.shards
        if self.epoch == epoch:
            self.epoch, self.batch = epoch + 1, 0

    # -- making batches -----------------------------------------------------------------------

    def _from(self, epoch: int, start: int) -> Iterator[Batch]:
        source = self._source()
        made = self._streamed if self.is_stream else self._planned
        batches = made(epoch, start, source)
        if self.num_workers and not self.is_stream:
            batches = self._ready_workers().ahead(batches)
        return clocked(batches, self.world)

    def _planned(self, epoch: int, start: int, source: int) -> Iterator[Batch]:
        order, recipe = self._order_of_batches, self._recipe(self.dataset)
        for number, indices in enumerate(order.batches(epoch, start, self.seed), start):
            step = epoch * self._steps() + number
            total = len(indices) * (self._own or 1)
            facts = self._facts(epoch, number, partial(self._samples_read, indices))
            parts = self._parts(indices, step, total, facts)
            yield Batch(recipe, parts, step, total, self.world, source)

    def _parts(
        self, indices: Array, step: int, total: int, origin: Origin
    ) -> list[tuple[Array, ShardPosition]]:
        """Return the samples of each shard of this rank; of an empty one the batch's first."""
        found = positions(self.world, step, total, origin)
        if self._own is not None:
            return [(indices, position) for _, position in found]
        return [(indices[r.start : r.stop] if r else indices[:1], p) for r, p in found]

    def _streamed(self, epoch: int, start: int, source: int) -> Iterator[Batch]:
        wanted = stretches(epoch, self.global_batch_size, source)
        if self.num_workers:
            chunks = read_ahead(self._ready_workers(), wanted, self.num_workers)
        else:
            chunks = StreamReader(self.dataset).read_all(wanted)
        for number, chunk in enumerate(chunks):
            n = len(chunk)
            if not n or (n < self.global_batch_size and self.drop_last):
                return
            if number < start:
                continue
            step = (epoch << 32) + number
            facts = self._facts(epoch, number, partial(digest_of_sample, chunk[0]))
            parts = self._parts(np.arange(n), step, n, facts)
            yield Batch(self._recipe(chunk), parts, step, n, self.world, source)

    def _recipe(self, dataset: Any) -> Recipe:
        return Recipe(dataset, self.collate_fn, self._tensors, self._single)

    def _ready_workers(self) -> Workers:
        """Return the workers, with the data set as it is now unless they keep theirs."""
        workers, back = self._workers, self._background
        kept = workers is not None and not workers.has_ended
        if workers is None or not kept:
            count = 1 if self.is_stream else back.workers
            workers = Workers(count, prefetch=back.prefetch, timeout=back.timeout)
            self._workers = workers  # those before are closed with this
        if not (kept and back.persistent):
            reader = StreamReader if self.is_stream else self._recipe
            workers.begin(reader(self.dataset), self.worker_init_fn)
        return workers

    def _steps(self) -> int:
        """Return how many numbers an epoch takes for its steps."""
        try:
            return len(self)
        except TypeError:  # a sampler without a length
            return 1 << 32

    # -- what ranks compare, and what a resumed run continues from -----------------------------

    def _samples_read(self, indices: Array) -> str:
        """Return what tells which samples a sampler gave; "" where it cannot differ, or may."""
        given = self._sampler is not None or self._batch_sampler is not None
        return digest_of(indices) if given and self._own is None else ""

    def _facts(self, epoch: int, number: int, samples: Callable[[], str]) -> Origin:
        """Return what the ranks compare about a batch."""

        def facts() -> dict[str, Any]:
            place: dict[str, Any] = {"epoch": epoch, "batch of the epoch": number}
            if found := samples():
                place["samples of the batch"] = found
            data = {"contents of the data set": self._fingerprint()}
            return {f"DataLoader {k}": v for k, v in {**self._settings(), **place}.items()} | data

        return facts

    def _settings(self) -> dict[str, Any]:
        return {k: v for k, v in self.state_dict().items() if k not in ("epoch", "batch")}

    def _fingerprint(self) -> str:
        if self._contents is None:  # once a loader: rows may be large, or on a disk
            self._contents = fingerprint(self.dataset)
        return self._contents

    def _source(self) -> int:
        """Return what keys random numbers beside the step: two loaders in a loop draw their own.

        It is made of what they read, so that it is the same on all ranks and after a resume.
        """
        what = repr((self._fingerprint(), [str(v) for v in self._settings().values()])).encode()
        return int.from_bytes(hashlib.blake2b(what, digest_size=8).digest(), "little") >> 1

    def state_dict(self) -> dict[str, Any]:
        """Return where the next batch stands, and what the order is keyed by."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "global_batch_size": self.global_batch_size,
            "drop_last": self.drop_last,
            "samples": 0 if self.is_stream else len(self.dataset),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``. Errors: DataError if it was taken with another order of data."""
        own = self.state_dict()
        for key in ("seed", "shuffle", "global_batch_size", "drop_last", "samples"):
            if state[key] != own[key]:
                raise DataError(
                    f"the saved run read its data with {key}={state[key]}, this one has "
                    f"{key}={own[key]}: continuing would train on other batches. Use the same value"
                )
        epoch, batch = operator.index(state["epoch"]), operator.index(state["batch"])
        if epoch < 0 or not 0 <= batch <= self._steps():
            raise DataError(
                f"the saved run stood at batch={batch} of epoch={epoch}; an epoch has {len(self)}"
            )
        self.epoch, self.batch, self._continues = epoch, batch, True

    # -- checks -------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._single and self.world.size > 1:
            raise DataError(_NO_PARTS)
        if self.is_stream:
            return
        n, size, shards = len(self.dataset), self.global_batch_size, self.world.shards
        if n == 0:
            raise DataError("the data set is empty; check the path or the filter that made it")
        if size < shards and not self._tensors:
            raise DataError(
                f"global_batch_size={size} is smaller than the number of logical shards, {shards}: "
                f"use a batch of at least {shards} samples, or fewer shards or ranks"
            )
        if self.drop_last and n < size and self._sampler is None:
            raise DataError(
                f"the data set has {n} samples, fewer than global_batch_size={size}, and "
                f"drop_last=True drops them all; use a smaller batch or drop_last=False"
            )

    def _check_one_part(self) -> None:
        mine = len(self.world.my_shards)
        if self.world.shards > self.world.size:
            raise DataError(
                f"a loader with batch_size= gives each rank one part of a batch, but there are "
                f"{self.world.shards} logical shards for {self.world.size} ranks, {mine} of them "
                f"this one's: make it with global_batch_size={self.global_batch_size} and write "
                f"`for batch in loader:` and inside it `for x, y in batch.shards:`"
            )

    def _own_samples(self, sampler: Any) -> int | None:
        """Return the number of ranks whose samplers give each its own samples; None: all alike."""
        found = own_samples(sampler)
        if found is None:
            return None
        ranks, rank = found
        if (ranks, rank) != (self.world.size, self.world.rank):
            raise DataError(
                f"the sampler is that of rank {rank} of {ranks}, and this is rank "
                f"{self.world.rank} of {self.world.size}: leave num_replicas= and rank= out"
            )
        if not self._tensors or self.world.shards > self.world.size:
            raise DataError(
                "a sampler of each rank's own samples goes with batch_size= and one shard a rank; "
                "the loader cuts global batches by itself: leave the sampler out, shuffle=True"
            )
        return ranks

    def _make_order(self, size: int) -> Order:
        if self._batch_sampler is not None:
            return Batched(self._batch_sampler)
        if self._sampler is not None:
            number = size if self._tensors else self.global_batch_size
            return Sampled(self._sampler, number, self.drop_last)
        if self.is_stream:
            return Plain(0, size, False, False)
        return Plain(len(self.dataset), self.global_batch_size, self.shuffle, self.drop_last)


_NO_PARTS = (
    "batch_size=None takes samples one by one, and on several ranks a sample has no parts: give a "
    "batch_size, or a DistributedSampler and batch_size=1"
)
