"""DataLoader: global batches in an order that does not depend on the number of ranks."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.data.datasets import Dataset, fetch, fingerprint
from distgrad.data.sampler import permutation
from distgrad.errors import DataError
from distgrad.parallel.shards import Origin
from distgrad.parallel.walk import own_shards
from distgrad.parallel.world import World, current_world


class Batch:
    """One global batch; ``shards`` are the arrays of this rank's logical shards, one by one.

    ``step`` numbers it over all epochs from 0, ``total`` is the number of samples on all ranks of
    ``world``.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: Array,
        step: int,
        world: World,
        origin: Origin,
        source: int,
    ) -> None:
        self._dataset, self._indices, self.world = dataset, indices, world
        self._origin, self._source = origin, source
        self._calls: dict[int, int] = {}
        self.step, self.total = step, len(indices)

    @property
    def shards(self) -> Iterator[tuple[Array, ...]]:
        """The arrays of each logical shard of this rank: ``for x, y in batch.shards``.

        A rank that has no sample of the batch gets one shard of arrays of length 0, so that every
        rank runs the same statements.
        """
        walk = own_shards(
            self.world,
            self.step,
            self.total,
            calls=self._calls,
            source=self._source,
            origin=self._origin,
        )
        for rows in walk:
            if rows:
                yield fetch(self._dataset, self._indices[rows.start : rows.stop])
            else:  # one sample tells shapes and dtypes
                yield tuple([a[:0] for a in fetch(self._dataset, self._indices[:1])])

    def __iter__(self) -> Iterator[Any]:
        raise DataError(
            "a batch is not the samples of this rank, which may have several logical shards of it "
            "(or one without samples): write `for batch in loader:` and inside it "
            "`for x, y in batch.shards:`"
        )


class DataLoader:
    """Iterates over global batches of ``dataset``; every iteration is one epoch, the next one.

    ``global_batch_size`` counts the samples of all ranks together. The order of an epoch is a
    permutation keyed by (seed, epoch), so that it is the same on any number of ranks; the last
    batch may be smaller, and is weighted accordingly, unless ``drop_last``. An iteration that was
    left early is continued by the next one: to look at a batch first, take another loader.
    Errors: DataError for an empty data set or fewer samples in a batch than logical shards.
    """

    def __init__(
        self,
        dataset: Dataset,
        global_batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        world: World | None = None,
    ) -> None:
        self.dataset = dataset
        self.global_batch_size = global_batch_size
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.world = world or current_world()
        self.epoch = 0
        self.batch = 0
        """The next batch of the epoch: a state taken inside the loop continues after this one."""
        self._contents: str | None = None
        self._check()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.global_batch_size)
        return full if self.drop_last or not rest else full + 1

    def __iter__(self) -> Iterator[Batch]:
        n, size = len(self.dataset), self.global_batch_size
        order = permutation(n, seed=self.seed, epoch=self.epoch) if self.shuffle else np.arange(n)
        source = self._source()
        while self.batch < len(self):
            indices = order[self.batch * size : (self.batch + 1) * size]
            step = self.epoch * len(self) + self.batch
            self.batch += 1
            after = self.epoch, self.batch
            facts = self._facts(self.epoch, step)
            yield Batch(self.dataset, indices, step, self.world, facts, source)
            if after != (self.epoch, self.batch):  # nested, such loops would never end
                raise DataError(
                    "a loop over a DataLoader cannot go on: another loop over the same one has "
                    "taken batches meanwhile. Make a second DataLoader over the same data for it"
                )
        self.epoch, self.batch = self.epoch + 1, 0

    def _facts(self, epoch: int, step: int) -> Origin:
        """Return what the ranks compare about a batch."""

        def facts() -> dict[str, Any]:
            place = {"epoch": epoch, "batch of the epoch": step - epoch * len(self)}
            data = {"contents of the data set": self._fingerprint()}
            return {f"DataLoader {k}": v for k, v in {**self._order(), **place}.items()} | data

        return facts

    def _order(self) -> dict[str, Any]:
        return {k: v for k, v in self.state_dict().items() if k not in ("epoch", "batch")}

    def _fingerprint(self) -> str:
        if self._contents is None:  # once a loader: rows may be large, or on a disk
            self._contents = fingerprint(self.dataset)
        return self._contents

    def _source(self) -> int:
        """Return what keys random numbers beside the step: two loaders in a loop draw their own.

        It is made of what they read, so that it is the same on all ranks and after a resume.
        """
        what = repr((self._fingerprint(), [str(v) for v in self._order().values()])).encode()
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
            "samples": len(self.dataset),
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
        if epoch < 0 or not 0 <= batch <= len(self):
            raise DataError(
                f"the saved run stood at batch={batch} of epoch={epoch}; an epoch has {len(self)}"
            )
        self.epoch, self.batch = epoch, batch

    def _check(self) -> None:
        n, size, shards = len(self.dataset), self.global_batch_size, self.world.shards
        if n == 0:
            raise DataError("the data set is empty; check the path or the filter that made it")
        if size < shards:
            raise DataError(
                f"global_batch_size={size} is smaller than the number of logical shards, {shards}: "
                f"use a batch of at least {shards} samples, or fewer shards or ranks"
            )
        if self.drop_last and n < size:
            raise DataError(
                f"the data set has {n} samples, fewer than global_batch_size={size}, and "
                f"drop_last=True drops them all; use a smaller batch or drop_last=False"
            )
