"""How the samples of a shard are read: the same in the rank's own process and in its workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.data.collate import default_collate, default_convert, emptied
from distgrad.data.reading import fetch, gather
from distgrad.parallel.shards import ShardPosition
from distgrad.parallel.walk import inside


@dataclass(frozen=True)
class Recipe:
    """What makes of sample numbers what the loop is given.

    Without ``collate`` samples become a tuple of arrays, or with ``tensors`` Tensors by
    ``default_collate``. ``single``: a number is not put into a batch, but its sample taken as it
    is.
    """

    dataset: Any
    collate: Callable[[Any], Any] | None
    tensors: bool
    single: bool = False

    def read(self, indices: Array, empty: bool) -> Any:
        """Return the samples ``indices``; of an ``empty`` shard what tells shapes and dtypes."""
        if self.single:
            sample = self.dataset[int(indices[0])]
            return default_convert(sample) if self.collate is None else self.collate(sample)
        if self.collate is None and not self.tensors:
            arrays = fetch(self.dataset, indices)
            return tuple([a[:0] for a in arrays]) if empty else arrays
        collate = default_collate if self.collate is None else self.collate
        if empty:
            sample = self.dataset[int(indices[0])]
            return emptied(collate([sample]), collate([sample, sample]))
        if self.collate is not None:
            return collate([self.dataset[int(i)] for i in indices])
        found = gather(self.dataset, indices)
        return [Tensor(a) for a in found] if isinstance(found, tuple) else collate(found)

    def work(self, job: Job) -> tuple[int, Any]:
        """Return how many random draws a shard's reading took, and what was read."""
        calls: dict[int, int] = {}
        with inside(job.position, calls, job.source):
            value = self.read(job.indices, job.position.empty)
        return calls[job.position.shard], value


@dataclass(frozen=True)
class Job:
    """The reading of one shard in a worker: where it stands, and what its random draws need."""

    indices: Array
    position: ShardPosition
    source: int
    seed: int

    @property
    def place(self) -> tuple[int, int]:
        """What keys random draws beside seed and source."""
        return self.position.step, self.position.shard


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker of a loader runs: ``id`` of ``num_workers``, and its copy of the data set."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


own_worker: WorkerInfo | None = None
"""Set in a worker process."""


def get_worker_info() -> WorkerInfo | None:
    """Return which worker process of a DataLoader this is; None in the rank's own process."""
    return own_worker
