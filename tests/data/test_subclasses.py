"""What users put before a loader: subclasses that augment, Tensors, and what is no data set."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad.errors import DataError
from distgrad.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

X = dg.arange(4).float()


class Augmented(TensorDataset):
    def __getitem__(self, i):
        (x,) = super().__getitem__(i)
        return (x * 100,)


class AugmentedPart(Subset):
    def __getitem__(self, i):
        (x,) = super().__getitem__(i)
        return (x * 100,)


@pytest.mark.parametrize(
    "dataset",
    [
        Augmented(X),
        Subset(Augmented(X), [0, 1, 2, 3]),
        AugmentedPart(TensorDataset(X), [0, 1, 2, 3]),
    ],
)
def test_a_subclass_with_its_own_getitem_is_read_by_it(dataset):
    for (x,) in DataLoader(dataset, batch_size=4):
        assert x.tolist() == [0, 100, 200, 300]
    for batch in DataLoader(dataset, global_batch_size=4):
        for (x,) in batch.shards:
            assert x.tolist() == [0, 100, 200, 300]


class Gathering(Dataset):
    """One with methods of names that a Tensor has, too."""

    fingerprint = "v1"

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return i

    def gather(self, what, where):
        raise AssertionError


def test_tensors_and_data_sets_with_methods_of_their_own_are_read_by_number():
    assert next(iter(DataLoader(X, batch_size=3))).tolist() == [0, 1, 2]
    assert next(iter(DataLoader(Gathering(), batch_size=3))).tolist() == [0, 1, 2]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch_size": None, "drop_last": True}, "no last batch for drop_last"),
        ({"num_workers": 1.5}, r"num_workers=1\.5: a number of processes"),
        ({"num_workers": None}, "num_workers=None"),
        ({"timeout": "x"}, "timeout='x': seconds"),
        ({"num_workers": 1, "prefetch_factor": 1.5}, r"prefetch_factor=1\.5"),
        ({"multiprocessing_context": "thread"}, "no way to start a process"),
    ],
)
def test_settings_of_other_kinds_are_refused(settings, said):
    with pytest.raises(DataError, match=said):
        DataLoader(X, **{"batch_size": 2, **settings})


def test_what_is_no_data_set_is_told_what_one_is():
    with pytest.raises(DataError, match="a generator has not: make a list of it"):
        DataLoader((i for i in range(3)), batch_size=2)
    assert len(list(DataLoader(Stream(), batch_size=2))) == 2


@pytest.mark.parametrize("name", ["dataset", "batch_size", "drop_last", "num_workers"])
def test_what_the_order_was_made_of_cannot_be_set_any_more(name):
    loader = DataLoader(X, batch_size=2)
    with pytest.raises(ValueError, match=f"{name}= of a DataLoader cannot be set any more"):
        setattr(loader, name, 3)
    loader.collate_fn = len
    assert list(loader) == [2, 2]


def test_numbers_and_texts_that_no_array_holds_are_named():
    with pytest.raises(DataError, match="numbers that no dtype can, as 1180591620717411303424"):
        next(iter(DataLoader([1, 2**70], batch_size=2)))
    with pytest.raises(DataError, match="a ndarray of <U1, which is not put into a batch"):
        next(iter(DataLoader([np.array("a")], batch_size=1)))
