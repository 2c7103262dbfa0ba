"""Which samples make which batch of an epoch. Knows no rank and reads no sample."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.data.sampler import permutation
from distgrad.errors import DataError


class Order(Protocol):
    """The batches of every epoch."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        ...

    def batches(self, epoch: int, start: int, seed: int) -> Iterator[Array]:
        """Yield the sample numbers of each batch of an epoch, from batch ``start`` on."""
        ...


@dataclass(frozen=True)
class Plain:
    """All samples, as they stand or in the permutation of (seed, epoch)."""

    samples: int
    size: int
    shuffle: bool
    drop_last: bool

    def __len__(self) -> int:
        return _count(self.samples, self.size, self.drop_last)

    def batches(self, epoch: int, start: int, seed: int) -> Iterator[Array]:
        """Yield slices of one array."""
        n = self.samples
        order = permutation(n, seed=seed, epoch=epoch) if self.shuffle else np.arange(n)
        for i in range(start, len(self)):
            yield order[i * self.size : (i + 1) * self.size]


@dataclass(frozen=True)
class Sampled:
    """The numbers that a sampler gives, ``size`` at a time."""

    sampler: Any
    size: int
    drop_last: bool

    def __len__(self) -> int:
        return _count(len(self.sampler), self.size, self.drop_last)

    def batches(self, epoch: int, start: int, seed: int) -> Iterator[Array]:
        """Yield as the sampler goes on: it may have no end."""
        keyed = getattr(self.sampler, "order", None)
        numbers = iter(self.sampler if keyed is None else keyed(epoch))
        skipped = 0
        while chosen := list(itertools.islice(numbers, self.size)):
            if len(chosen) < self.size and self.drop_last:
                return
            if skipped < start:
                skipped += 1
            else:
                yield _numbers(chosen)


@dataclass(frozen=True)
class Batched:
    """The batches that a sampler of batches gives."""

    sampler: Any

    def __len__(self) -> int:
        return len(self.sampler)

    def batches(self, epoch: int, start: int, seed: int) -> Iterator[Array]:
        """Yield them as they come."""
        for chosen in itertools.islice(self.sampler, start, None):
            yield _numbers(chosen)


def own_samples(sampler: Any) -> tuple[int, int] | None:
    """Return (number of ranks, this rank) of a sampler whose numbers are a rank's own."""
    inner: Any = getattr(sampler, "sampler", None)  # of a sampler of batches
    for one in (sampler, inner):
        ranks, rank = getattr(one, "num_replicas", None), getattr(one, "rank", None)
        if ranks is not None and rank is not None:
            return int(ranks), int(rank)
    return None


def digest_of(indices: Array) -> str:
    """Return what tells the samples of a batch from others."""
    return hashlib.blake2b(indices.tobytes(), digest_size=8).hexdigest()


def digest_of_sample(sample: Any) -> str:
    """Return what tells a sample of a stream from others, as far as it holds arrays and numbers."""
    found = hashlib.blake2b(digest_size=8)

    def walk(value: Any) -> None:
        if isinstance(value, Tensor):
            value = value.array
        if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            found.update(f"{value.dtype.str} {value.shape}".encode() + value.tobytes())
        elif isinstance(value, Mapping):
            walk(list(value.items()))
        elif isinstance(value, list | tuple):
            for one in value:
                walk(one)
        elif isinstance(value, str | bytes | int | float | complex | None):
            found.update(repr(value).encode())

    walk(sample)
    return found.hexdigest()


def _count(samples: int, size: int, drop_last: bool) -> int:
    full, rest = divmod(samples, size)
    return full if drop_last or not rest else full + 1


def _numbers(chosen: Iterable[Any]) -> Array:
    numbers = np.asarray(list(chosen))
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not numbers.size:
        raise DataError(
            f"the sampler gave {numbers.dtype} of {numbers.shape} for a batch: it gives numbers of "
            f"samples (a batch_sampler lists of them), one or more a batch"
        )
    return numbers.astype(np.int64)
