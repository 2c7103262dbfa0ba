"""One global batch, of which a rank walks its own shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

from distgrad.autograd import stream
from distgrad.autograd.types import Array
from distgrad.data.recipe import Job, Recipe
from distgrad.data.workers import Workers
from distgrad.errors import DataError
from distgrad.parallel.shards import ShardPosition
from distgrad.parallel.walk import inside
from distgrad.parallel.world import World


class Batch:
    """One global batch; ``shards`` are the arrays of this rank's logical shards, one by one.

    ``step`` numbers it over all epochs from 0, ``total`` is the number of samples on all ranks of
    ``world``.
    """

    def __init__(
        self,
        recipe: Recipe,
        parts: list[tuple[Array, ShardPosition]],
        step: int,
        total: int,
        world: World,
        source: int,
    ) -> None:
        self._recipe, self._parts, self._source = recipe, parts, source
        self._calls: dict[int, int] = {}
        self._workers: Workers | None = None
        self._tickets: dict[int, int] = {}  # of shards that workers read
        self._seed = 0  # with which they do
        self.step, self.total, self.world = step, total, world

    @property
    def shards(self) -> Iterator[Any]:
        """The arrays of each logical shard of this rank: ``for x, y in batch.shards``.

        A rank that has no sample of the batch gets one shard of arrays of length 0, so that every
        rank runs the same statements.
        """
        times = self.world.comm.transport.state.times
        for indices, position in self._parts:
            begun = perf_counter()
            found = self._read_ahead(position.shard)
            # A position of its own for every walk: backward tells them apart by identity.
            with inside(replace(position), self._calls, self._source):
                value = self._recipe.read(indices, position.empty) if found is None else found[0]
                times.was_reading(begun)
                yield value

    def __iter__(self) -> Iterator[Any]:
        raise DataError(
            "a batch is not the samples of this rank, which may have several logical shards of it "
            "(or one without samples): write `for batch in loader:` and inside it "
            "`for x, y in batch.shards:`; a loader made with batch_size= instead of "
            "global_batch_size= gives `for x, y in loader:`"
        )

    # -- reading ahead ------------------------------------------------------------------------

    def order_from(self, workers: Workers) -> int:
        """Let ``workers`` read this rank's shards; return how many they are."""
        self._workers, self._seed = workers, stream.seed.get()
        for indices, position in self._parts:
            job = Job(indices, replace(position, origin=None), self._source, self._seed)
            self._tickets[position.shard] = workers.order(job)
        return len(self._parts)

    def forget(self) -> None:
        """Drop what was read and not taken; a later walk reads by itself."""
        if self._workers is not None:
            self._workers.drop(list(self._tickets.values()))
        self._tickets.clear()

    def _read_ahead(self, shard: int) -> tuple[Any] | None:
        """Return what a worker has read, the first time; its random draws count as drawn here."""
        ticket = self._tickets.pop(shard, None)
        if ticket is None or self._workers is None:
            return None
        if self._seed != stream.seed.get():  # dg.manual_seed was called since
            self._workers.drop([ticket])
            return None
        self._calls[shard], value = self._workers.take(ticket)
        return (value,)
