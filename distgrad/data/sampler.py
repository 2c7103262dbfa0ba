"""The order of the samples: a function of seed and epoch alone, the same on every rank."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distgrad.autograd import stream
from distgrad.errors import DataError

T_co = TypeVar("T_co", covariant=True)

_STREAM = 0x6F72646572  # "order": apart from every other use of the same seed
_DRAWS = 0x6472617773  # "draws": of samplers that choose, not only order
_MOST_SEED = 1 << 63


def permutation(n: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the numbers 0 to n - 1 in the order of ``epoch``, keyed by (seed, epoch).

    Sorts n random 64-bit words of Philox (Salmon et al., 2011). NumPy promises the words of a bit
    generator for ever, but not what ``Generator.permutation`` makes of them. Raises DataError for
    n < 1 and for negative seeds and epochs.
    """
    if n < 1:
        raise DataError(f"a data set of {n} samples has no order: check what was read or selected")
    if seed < 0 or epoch < 0:
        raise DataError(f"seed and epoch must be 0 or more; got seed={seed}, epoch={epoch}")
    return np.argsort(random_words(n, seed, _STREAM, epoch), kind="stable").astype(
        np.int64, copy=False
    )


def seed_of(generator: Any) -> int | None:
    """Return the seed in what ``generator=`` was given: a number, or an object that has one.

    None, what ``dg.manual_seed`` was given, for None. An ``np.random.Generator`` gives its next
    number: make it with the same seed on all ranks. Errors: DataError for anything else.
    """
    if generator is None:
        return None
    if isinstance(generator, np.random.Generator):
        return int(generator.integers(_MOST_SEED))
    asked = getattr(generator, "initial_seed", None)
    try:
        number = operator.index(generator if asked is None else asked())
    except TypeError:
        raise DataError(
            f"generator={generator!r}: give a seed (a whole number), an np.random.Generator, or "
            f"an object with initial_seed(); order is keyed by (seed, epoch), not by a state"
        ) from None
    if number < 0:
        raise DataError(f"generator={generator!r}: a seed is 0 or more")
    return number


class Sampler(Generic[T_co]):
    """The order in which a loader reads samples: an iterable of their numbers; subclass it.

    Every rank gives the same numbers, of which the loader takes its rank's part, unless the sampler
    has attributes ``num_replicas`` and ``rank``, as DistributedSampler: then they are the rank's
    own.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__(); define one")


class KeyedSampler(Sampler[int]):
    """A sampler whose epochs are numbered, so that a stopped run can continue in one."""

    epoch = 0
    """The epoch of the next iteration."""

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the numbers of the samples of an epoch, in order."""
        raise NotImplementedError(f"{type(self).__name__} has no order(epoch); define one")

    def __iter__(self) -> Iterator[int]:
        order = self.order(self.epoch)
        self.epoch += 1
        return iter(order.tolist())


class SequentialSampler(KeyedSampler):
    """The samples of ``data_source`` as they stand."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __len__(self) -> int:
        return len(self.data_source)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return 0 to n - 1."""
        return np.arange(len(self), dtype=np.int64)


class _RandomSampler(KeyedSampler):
    """One that draws: from ``generator`` (see ``seed_of``) and the epoch's number."""

    def __init__(self, generator: Any) -> None:
        self.generator, self._seed = generator, seed_of(generator)

    @property
    def seed(self) -> int:
        """What the order is keyed by beside the epoch."""
        return stream.seed.get() if self._seed is None else self._seed

    def _uniform(self, n: int, epoch: int) -> NDArray[np.float64]:
        """Return n numbers above 0 and below 1."""
        words = random_words(n, self.seed, _DRAWS, epoch) >> np.uint64(12)
        return (words.astype(np.float64) + 0.5) * 2.0**-52


class RandomSampler(_RandomSampler):
    """All samples in a random order, or with ``replacement`` any of them ``num_samples`` times.

    Without it ``num_samples`` beyond the length begin the next of several permutations. Errors:
    DataError for fewer than one sample.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        super().__init__(generator)
        self.data_source, self.replacement = data_source, replacement
        self._num_samples = None if num_samples is None else _positive("num_samples", num_samples)

    @property
    def num_samples(self) -> int:
        """How many samples an epoch has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __len__(self) -> int:
        return self.num_samples

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the numbers of an epoch."""
        n, wanted = len(self.data_source), self.num_samples
        if self.replacement:
            return (self._uniform(wanted, epoch) * n).astype(np.int64)
        first = permutation(n, seed=self.seed, epoch=epoch)
        more = [
            np.argsort(random_words(n, self.seed, _DRAWS, epoch, i), kind="stable")
            for i in range(1, -(-wanted // n))
        ]
        return np.concatenate([first, *more])[:wanted]


class SubsetRandomSampler(_RandomSampler):
    """The samples ``indices`` in a random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        super().__init__(generator)
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the numbers of an epoch."""
        chosen = np.asarray(self.indices, np.int64)
        return chosen[permutation(len(chosen), seed=self.seed, epoch=epoch)]


class WeightedRandomSampler(_RandomSampler):
    """``num_samples`` draws among the numbers 0 to n - 1, sample i with weight ``weights[i]``.

    Without ``replacement`` no sample comes twice (Efraimidis and Spirakis 2006). Errors: DataError
    for weights that are negative, not finite or all 0, and for more draws than there are samples.
    """

    def __init__(
        self,
        weights: ArrayLike,
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
    ) -> None:
        super().__init__(generator)
        self.weights = np.asarray(weights, np.float64)
        self.num_samples, self.replacement = _positive("num_samples", num_samples), replacement
        good = self.weights.ndim == 1 and np.isfinite(self.weights).all()
        if not good or (self.weights < 0).any() or not self.weights.any():
            raise DataError(
                f"weights are one number for each sample, 0 or more, and not all 0; got shape "
                f"{self.weights.shape}"
            )
        drawable = int(np.count_nonzero(self.weights))
        if not replacement and num_samples > drawable:
            raise DataError(
                f"{num_samples} samples cannot be drawn without replacement from {drawable} with "
                f"a weight above 0: draw fewer, or with replacement=True"
            )

    def __len__(self) -> int:
        return self.num_samples

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the numbers of an epoch."""
        w = self.weights
        if self.replacement:
            ends = np.cumsum(w)
            drawn = np.searchsorted(ends, self._uniform(len(self), epoch) * ends[-1], side="right")
            # A product that rounds up to the whole sum would be behind the last sample.
            inside: NDArray[np.int64] = np.minimum(drawn, np.flatnonzero(w)[-1])
            return inside
        u = self._uniform(len(w), epoch)
        keys = np.full(len(w), np.inf)
        np.divide(-np.log(u), w, out=keys, where=w > 0)
        return np.argsort(keys, kind="stable")[: len(self)].astype(np.int64, copy=False)


class BatchSampler(Sampler[list[int]]):
    """The numbers of another sampler, ``batch_size`` at a time; the last may be fewer."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        self.sampler, self.drop_last = sampler, drop_last
        self.batch_size = _positive("batch_size", batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        chosen: list[int] = []
        for index in self.sampler:
            chosen.append(int(index))
            if len(chosen) == self.batch_size:
                yield chosen
                chosen = []
        if chosen and not self.drop_last:
            yield chosen

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return full if self.drop_last or not rest else full + 1


def random_words(n: int, seed: int, *key: int) -> NDArray[np.uint64]:
    """Return n random 64-bit words."""
    words: NDArray[np.uint64] = np.random.Philox(
        np.random.SeedSequence(seed, spawn_key=key)
    ).random_raw(n)
    return words


def _positive(name: str, number: int) -> int:
    try:
        whole = operator.index(number)
    except TypeError:
        whole = 0
    if isinstance(number, bool) or whole < 1:
        raise DataError(f"{name}={number!r}: a whole number, 1 or more")
    return whole
