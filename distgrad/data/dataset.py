"""What a data set is: the classes to subclass, and the sum of several. Knows no rank."""

from __future__ import annotations

import itertools
from abc import ABC
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from distgrad.data.reading import fingerprint
from distgrad.errors import DataError

T_co = TypeVar("T_co", covariant=True)


class Dataset(ABC, Generic[T_co]):
    """A data set; subclass it and define ``__len__`` and ``__getitem__(index)``.

    Anything else that has both is one as well. Samples are arrays, Tensors or numbers, or tuples,
    lists and mappings of them. A data set may also have ``__getitems__(indices)``, which returns a
    tuple of stacked arrays, or (as in PyTorch) a list of samples.
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__(index); define one")

    def __add__(self, other: Any) -> Any:
        return ConcatDataset([self, other])

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        if cls is not Dataset:
            return NotImplemented
        has = {name for base in other.__mro__ for name in vars(base)}
        if {"__len__", "__getitem__"} <= has:
            return True
        return NotImplemented


class IterableDataset(Dataset[T_co]):
    """A stream of samples; subclass it and define ``__iter__``.

    On several ranks every rank reads the whole stream and takes its part of each batch: do not cut
    it by rank. With ``num_workers`` one process of each rank reads it ahead, however many are asked
    for; one that cuts itself by ``get_worker_info()`` is whole.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__(); define one")


def lengths(who: str, datasets: Iterable[Any]) -> list[int]:
    """Return how many samples each has. Errors: TypeError for what is no data set."""
    listed = list(datasets)
    for d in listed:
        if not hasattr(d, "__len__") or isinstance(d, type):
            raise TypeError(f"{who} takes data sets, which have a length; got {d!r}")
    return [len(d) for d in listed]


class ConcatDataset(Dataset[Any]):
    """The samples of several data sets, one after the other: also ``first + second``."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise DataError("ConcatDataset needs one data set or more")
        streams = [type(d).__name__ for d in self.datasets if isinstance(d, IterableDataset)]
        if streams:
            raise DataError(f"ConcatDataset takes no stream ({streams[0]}): ChainDataset does")
        self.cumulative_sizes = list(itertools.accumulate(lengths("ConcatDataset", self.datasets)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        i = index + len(self) if index < 0 else index
        if not 0 <= i < len(self):
            raise IndexError(f"sample {index} of a ConcatDataset of {len(self)}")
        which = int(np.searchsorted(self.cumulative_sizes, i, side="right"))
        return self.datasets[which][i - (self.cumulative_sizes[which - 1] if which else 0)]

    def fingerprint(self) -> str:
        """Return those of all."""
        return " + ".join(map(fingerprint, self.datasets))
