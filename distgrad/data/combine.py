"""Data sets made of Tensors and of other data sets, with PyTorch's names."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd import stream
from distgrad.autograd.tensor import Tensor
from distgrad.data.dataset import Dataset, IterableDataset, lengths
from distgrad.data.datasets import ArrayDataset, Subset
from distgrad.data.reading import fingerprint
from distgrad.data.sampler import random_words, seed_of
from distgrad.errors import DataError

_SPLIT = 0x73706C6974  # "split": apart from every other use of the same seed


class TensorDataset(ArrayDataset):
    """Samples are rows: sample i is ``(tensors[0][i], tensors[1][i], …)``; arrays are taken too.

    Errors: DataError for no tensors, no samples, or tensors of unequal length; GradError for one
    that requires gradients.
    """

    def __init__(self, *tensors: Any) -> None:
        super().__init__(*tensors)
        self.tensors = tuple(Tensor(array) for array in self.arrays)

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


class StackDataset(Dataset[Any]):
    """Sample i is the tuple of the samples i of several data sets, or a dict of named ones."""

    def __init__(self, *datasets: Any, **named: Any) -> None:
        if bool(datasets) == bool(named):
            raise DataError("StackDataset takes data sets, or named ones: one or more, not both")
        self.datasets: tuple[Any, ...] | dict[str, Any] = named or datasets
        found = lengths("StackDataset", (*datasets, *named.values()))
        if len(set(found)) > 1:
            raise DataError(f"data sets of different lengths cannot be stacked: {found}")
        self._length = found[0]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, dict):
            return {name: dataset[index] for name, dataset in self.datasets.items()}
        return tuple([dataset[index] for dataset in self.datasets])

    def fingerprint(self) -> str:
        """Return those of all."""
        named = isinstance(self.datasets, dict)
        parts = self.datasets.values() if isinstance(self.datasets, dict) else self.datasets
        return f"{list(self.datasets) if named else ''} | ".join(map(fingerprint, parts))


class ChainDataset(IterableDataset[Any]):
    """The samples of several streams, one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.datasets)

    def __len__(self) -> int:
        return sum(map(len, self.datasets))


@explained
def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: Any = None
) -> list[Subset]:
    """Cut ``dataset`` into random parts without common samples, of ``lengths`` or fractions of 1.

    What fractions leave over goes to the first parts, one sample each. The parts are keyed by the
    seed in ``generator`` (a number will do), by default that of ``dg.manual_seed``: the same on
    all ranks, and in every call. Errors: DataError for lengths that are not those of the data set.
    """
    n = len(dataset)
    sizes = _sizes(n, lengths)
    seed = seed_of(generator)
    words = random_words(n, stream.seed.get() if seed is None else seed, _SPLIT)
    order = np.argsort(words, kind="stable")
    cuts = np.cumsum(sizes)[:-1]
    return [Subset(dataset, part) for part in np.split(order, cuts)]


def _sizes(n: int, lengths: Sequence[int | float]) -> list[int]:
    given = [float(length) for length in lengths]
    if given and math.isclose(sum(given), 1) and all(0 <= f <= 1 for f in given):
        sizes = [math.floor(n * f) for f in given]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    else:
        sizes = [int(length) for length in given]
        if sum(sizes) != n or sizes != given:
            raise DataError(
                f"random_split: the lengths {list(lengths)} are not those of {n} samples: they add "
                f"up to {sum(given):g}; fractions add up to 1"
            )
    if not all(size > 0 for size in sizes):
        raise DataError(f"random_split: parts of {sizes} samples; every part needs one or more")
    return sizes
