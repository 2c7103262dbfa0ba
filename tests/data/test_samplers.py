"""Samplers, combined data sets and splits: keyed by (seed, epoch), the same on every rank."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad.data.sampler import permutation
from distgrad.errors import DataError
from distgrad.utils.data import (
    BatchSampler,
    ConcatDataset,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

DRAWING = {
    "random": lambda g=None: RandomSampler(range(20), generator=g),
    "with replacement": lambda g=None: RandomSampler(range(20), True, 30, g),
    "fewer": lambda g=None: RandomSampler(range(20), num_samples=7, generator=g),
    "more": lambda g=None: RandomSampler(range(20), num_samples=50, generator=g),
    "subset": lambda g=None: SubsetRandomSampler([3, 1, 4, 15, 9, 2, 6], g),
    "weighted": lambda g=None: WeightedRandomSampler(np.arange(20), 30, generator=g),
    "weighted, once": lambda g=None: WeightedRandomSampler(np.arange(20), 10, False, g),
}


@pytest.mark.parametrize("name", DRAWING)
def test_the_order_is_keyed_by_seed_and_epoch(name):
    def body():
        make = DRAWING[name]
        dg.manual_seed(4)
        sampler = make()
        epochs = [list(sampler) for _ in range(3)]
        assert epochs[0] != epochs[1] != epochs[2]
        assert all(len(e) == len(sampler) for e in epochs)
        again = make(4)  # the seed by hand
        dg.random.normal((3,))
        assert [list(again) for _ in range(3)] == epochs
        assert sampler.order(1).tolist() == epochs[1]
        assert list(make(5)) != epochs[0]
        return epochs

    found = simulated(3, body)
    assert found == [found[0]] * 3


def test_a_random_sampler_gives_each_sample_once_and_then_again():
    def body():
        assert sorted(RandomSampler(range(20))) == list(range(20))
        more = list(RandomSampler(range(20), num_samples=50))
        assert sorted(more[:20]) == sorted(more[20:40]) == list(range(20))
        assert more[:20] != more[20:40]
        assert len(set(more[40:])) == 10
        assert (
            list(RandomSampler(range(20), generator=3)) == permutation(20, seed=3, epoch=0).tolist()
        )
        drawn = Counter(RandomSampler(range(5), True, 20000, 1))
        assert all(3800 < drawn[i] < 4200 for i in range(5))

    alone(body)


def test_weights_are_followed():
    def body():
        drawn = Counter(WeightedRandomSampler([0, 1, 3, 0, 4, 0], 40000, generator=2))
        assert set(drawn) == {1, 2, 4}
        assert drawn[1] == pytest.approx(5000, rel=0.1)
        assert drawn[2] == pytest.approx(15000, rel=0.05)
        once = [tuple(WeightedRandomSampler([0, 1, 8, 1], 2, False, seed)) for seed in range(500)]
        assert all(len(set(o)) == 2 and 0 not in o for o in once)
        first = Counter(o[0] for o in once)
        assert first[2] == pytest.approx(400, rel=0.1)

    alone(body)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightedRandomSampler([1, -1], 2), "0 or more, and not all 0"),
        (lambda: WeightedRandomSampler([0, 0], 2), "not all 0"),
        (lambda: WeightedRandomSampler([1, np.nan], 2), "one number for each sample"),
        (lambda: WeightedRandomSampler([1, 0, 2], 3, False), "3 samples cannot be drawn without"),
        (lambda: WeightedRandomSampler([1.0], 0), "num_samples=0: a whole number, 1 or more"),
        (lambda: RandomSampler(range(3), num_samples=1.5), r"num_samples=1\.5: a whole number"),
        (lambda: BatchSampler(range(3), 0, False), "batch_size=0: a whole number"),
        (lambda: DistributedSampler(range(4), 2, 2), r"num_replicas=2, rank=2\): the rank is"),
        (lambda: DistributedSampler(range(1), 2, 0, drop_last=True), "each of 2 ranks none with"),
        (lambda: random_split(range(5), [2, 2]), "are not those of 5 samples: they add up to 4"),
        (lambda: random_split(range(5), [0.5, 0.4]), "add up to 0.9; fractions add up to 1"),
        (lambda: random_split(range(5), [5, 0]), r"\[5, 0\] samples; every part needs one"),
        (lambda: ConcatDataset([]), "needs one data set or more"),
        (lambda: ConcatDataset([Stream()]), r"takes no stream \(Stream\): ChainDataset"),
        (StackDataset, "one or more, not both"),
        (lambda: StackDataset(range(3), range(4)), r"cannot be stacked: \[3, 4\]"),
        (lambda: RandomSampler(range(3), generator=-1), "generator=-1: a seed is 0 or more"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(DataError, match=message):
        alone(make)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


@pytest.mark.parametrize("n", [7, 8, 9, 2])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_distributed_sampler_deals_out_all_samples(n, ranks, shuffle):
    parts = [list(DistributedSampler(range(n), ranks, r, shuffle)) for r in range(ranks)]
    assert {len(p) for p in parts} == {-(-n // ranks)}
    assert set().union(*parts) == set(range(n))
    if n >= ranks:
        parts = [
            list(DistributedSampler(range(n), ranks, r, shuffle, drop_last=True))
            for r in range(ranks)
        ]
        assert {len(p) for p in parts} == {n // ranks}
        assert len(set().union(*parts)) == n // ranks * ranks


def test_set_epoch_gives_another_order_on_all_ranks():
    samplers = [DistributedSampler(range(30), 3, r) for r in range(3)]
    first = [list(s) for s in samplers]
    assert [list(s) for s in samplers] == first  # as in PyTorch
    for s in samplers:
        s.set_epoch(1)
    second = [list(s) for s in samplers]
    assert second != first
    assert set().union(*second) == set(range(30))


def test_a_generator_is_a_seed_an_object_with_one_or_numpys():
    class Generator:
        def initial_seed(self):
            return 6

    def body():
        assert list(RandomSampler(range(9), generator=Generator())) == list(
            RandomSampler(range(9), generator=6)
        )
        a, b = (list(RandomSampler(range(9), generator=np.random.default_rng(s))) for s in (1, 2))
        assert a != b
        assert a == list(RandomSampler(range(9), generator=np.random.default_rng(1)))

    alone(body)


class Squares(Dataset[int]):
    def __init__(self, n=4):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return i * i


def test_data_sets_are_added_stacked_and_cut():
    both = Squares() + Squares(3)
    assert isinstance(both, ConcatDataset)
    assert [both[i] for i in range(len(both))] == [0, 1, 4, 9, 0, 1, 4]
    assert (both[-1], both[-7]) == (4, 0)
    for i in (7, -8):
        with pytest.raises(IndexError, match="of 7"):
            both[i]
    assert StackDataset(Squares(), range(4))[2] == (4, 2)
    assert StackDataset(x=Squares(), y=range(4))[2] == {"x": 4, "y": 2}
    assert len(StackDataset(Squares())) == 4
    assert [Subset(both, [5, 3])[i] for i in range(2)] == [1, 9]


def test_a_tensor_data_set_gives_tensors_of_rows():
    x = np.arange(6.0).reshape(3, 2)
    dataset = TensorDataset(dg.Tensor(x), np.arange(3))
    row, label = dataset[1]
    assert isinstance(row, dg.Tensor)
    assert row.array.tolist() == [2, 3]
    assert int(label) == 1
    assert [len(t) for t in dataset[0:2]] == [2, 2]
    assert dataset.tensors[0].dtype == np.float64
    with pytest.raises(DataError, match="same number of samples"):
        TensorDataset(dg.Tensor(x), np.arange(4))
    with pytest.raises(dg.GradError):
        TensorDataset(dg.Tensor(x, requires_grad=True))


def test_random_split_is_the_same_on_all_ranks_and_loses_nothing():
    def body():
        dg.manual_seed(3)
        parts = random_split(range(10), [0.5, 0.3, 0.2])
        assert [len(p) for p in parts] == [5, 3, 2]
        assert [len(p) for p in random_split(range(7), [0.5, 0.5])] == [4, 3]
        assert [len(p) for p in random_split(range(10), [4, 6])] == [4, 6]
        found = [p[i] for p in parts for i in range(len(p))]
        assert sorted(found) == list(range(10))
        assert found != sorted(found)
        other = random_split(range(10), [0.5, 0.3, 0.2], generator=4)
        assert other[0].indices.tolist() != parts[0].indices.tolist()
        return found

    found = simulated(3, body)
    assert found == [found[0]] * 3


def test_classes_that_lack_a_method_say_which():
    class Nothing(Dataset):
        pass

    class NoOrder(Sampler[int]):
        pass

    class NoStream(IterableDataset[int]):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing has no __getitem__\(index\)"):
        Nothing()[0]
    with pytest.raises(NotImplementedError, match=r"NoOrder has no __iter__\(\)"):
        iter(NoOrder())
    with pytest.raises(NotImplementedError, match=r"NoStream has no __iter__\(\)"):
        iter(NoStream())


def test_what_has_a_length_and_items_is_a_data_set():
    assert isinstance(range(3), Dataset)
    assert isinstance([1], Dataset)
    assert not isinstance(3, Dataset)
    assert not isinstance(range(3), IterableDataset)
    assert list(BatchSampler(SequentialSampler(range(5)), 2, False)) == [[0, 1], [2, 3], [4]]
