"""Data sets, samplers, collating and the loader's loop beside ``torch.utils.data``."""

from __future__ import annotations

import importlib
import inspect
from collections import namedtuple
from itertools import pairwise

import numpy as np
import pytest
from training import alone

import distgrad as dg
from distgrad.utils import data as ours

torch = pytest.importorskip("torch")
theirs = torch.utils.data

Point = namedtuple("Point", "x y")

# What distgrad.utils.data leaves out, and why.
LEFT_OUT = {
    *("DFIterDataPipe", "DataChunk", "IterDataPipe", "MapDataPipe"),  # torchdata's, given up
    *("argument_validation", "functional_datapipe", "guaranteed_datapipes_determinism"),
    *("non_deterministic", "runtime_validation", "runtime_validation_disabled"),
}


def test_every_name_of_torch_utils_data_is_here_or_left_out_with_a_reason():
    public = {n for n in theirs.__all__ if not n.startswith("_")}
    assert public - LEFT_OUT - set(ours.__all__) == set()
    assert set(ours.__all__) <= public


@pytest.mark.parametrize("name", sorted(set(ours.__all__) - {"get_worker_info"}))
def test_arguments_have_the_order_of_pytorchs(name):
    expected = inspect.signature(getattr(theirs, name)).parameters.values()
    found = inspect.signature(getattr(ours, name)).parameters.values()
    positional = [
        [p.name for p in ps if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        for ps in (expected, found)
    ]
    if name == "default_collate":
        positional = [["batch"], positional[1]]
    assert positional[1] == positional[0][: len(positional[1])]
    assert len(positional[1]) == len(positional[0])


def plain(value):
    if isinstance(value, dg.Tensor | torch.Tensor):
        array = value.data if isinstance(value, dg.Tensor) else value.numpy()
        return ("tensor", array.dtype.name, array.tolist())
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return (type(value).__name__, [plain(v) for v in value])
    return value


SAMPLES = {
    "arrays": [np.arange(3, dtype=d) for d in (np.float32,) * 3],
    "half": [np.ones((2, 2), np.float16)] * 2,
    "0-d arrays": [np.array(1.5), np.array(2.5)],
    "numpy numbers": [np.float32(1), np.float32(2)],
    "numpy integers": [np.int32(1), np.int32(2)],
    "numpy booleans": [np.bool_(True), np.bool_(False)],
    "ints": [1, 2, 3],
    "floats": [0.5, 1.5],
    "bools": [True, False],
    "mixed numbers": [1.0, 2],
    "strings": ["a", "b"],
    "bytes": [b"a", b"b"],
    "tuples": [(1, 2.0, "x"), (3, 4.0, "y")],
    "lists": [[1, 2], [3, 4], [5, 6]],
    "named": [Point(1, 2.0), Point(3, 4.0)],
    "dicts": [{"a": 1, "b": [1.0, np.ones(2)]}, {"a": 2, "b": [2.0, np.zeros(2)]}],
    "nested": [(Point([1], {"k": (2,)}),), (Point([3], {"k": (4,)}),)],
}


@pytest.mark.parametrize("name", SAMPLES)
def test_default_collate(name):
    samples = SAMPLES[name]
    assert plain(ours.default_collate(samples)) == plain(theirs.default_collate(samples))


@pytest.mark.parametrize("name", SAMPLES)
def test_default_convert(name):
    sample = SAMPLES[name][0]
    assert plain(ours.default_convert(sample)) == plain(theirs.default_convert(sample))


def test_tensors_are_collated_alike():
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3) + i for i in range(3)]
    expected = theirs.default_collate([(torch.tensor(a), i) for i, a in enumerate(arrays)])
    found = ours.default_collate([(dg.Tensor(a), i) for i, a in enumerate(arrays)])
    assert plain(found) == plain(expected)


@pytest.mark.parametrize(
    "samples",
    [
        [np.ones(2), np.ones(3)],
        [[1, 2], [3]],
        [object(), object()],
        [None, None],
        [],
    ],
)
def test_what_pytorch_cannot_collate_is_an_error(samples):
    with pytest.raises((RuntimeError, TypeError, IndexError)):
        theirs.default_collate(samples)
    with pytest.raises(dg.DataError):
        ours.default_collate(samples)


class Both:
    """The same data set, samples and settings under both."""

    def __init__(self, module, tensor):
        x = np.sin(np.arange(51.0)).reshape(17, 3).astype(np.float32)
        self.m = module
        self.data = module.TensorDataset(tensor(x), tensor(np.arange(17)))


def both():
    return Both(ours, dg.Tensor), Both(theirs, torch.tensor)


LOADERS = {
    "plain": lambda b: b.m.DataLoader(b.data, 5),
    "default": lambda b: b.m.DataLoader(b.data),
    "drop_last": lambda b: b.m.DataLoader(b.data, 5, drop_last=True),
    "None": lambda b: b.m.DataLoader(b.data, None),
    "list as sampler": lambda b: b.m.DataLoader(b.data, 4, sampler=[3, 1, 4, 1, 5, 9]),
    "sequential": lambda b: b.m.DataLoader(b.data, 3, sampler=b.m.SequentialSampler(b.data)),
    "batches": lambda b: b.m.DataLoader(b.data, batch_sampler=[[0, 5], [7], [1, 2, 3]]),
    "batch sampler": lambda b: b.m.DataLoader(
        b.data, batch_sampler=b.m.BatchSampler(b.m.SequentialSampler(b.data), 6, True)
    ),
    "collate_fn": lambda b: b.m.DataLoader(b.data, 6, collate_fn=len),
    "subset": lambda b: b.m.DataLoader(b.m.Subset(b.data, [5, 3, 8, 1]), 3),
    "concat": lambda b: b.m.DataLoader(b.data + b.data, 10),
    "stack": lambda b: b.m.DataLoader(b.m.StackDataset(b.data, range(17)), 6),
    "named stack": lambda b: b.m.DataLoader(b.m.StackDataset(a=b.data, b=range(17)), 6),
    "a list": lambda b: b.m.DataLoader([{"a": i, "b": (i, str(i))} for i in range(7)], 3),
    "no shuffle": lambda b: b.m.DataLoader(
        b.data, 4, sampler=b.m.DistributedSampler(b.data, 1, 0, False)
    ),
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_loop_gives_what_pytorchs_gives(name):
    def body():
        mine, oracle = (LOADERS[name](b) for b in both())
        assert len(mine) == len(oracle)
        assert [plain(b) for b in mine] == [plain(b) for b in oracle]
        assert mine.batch_size == oracle.batch_size
        assert len(mine.dataset) == len(oracle.dataset)

    alone(body)


@pytest.mark.parametrize(("n", "ranks"), [(7, 3), (8, 3), (9, 3), (2, 5), (10, 4)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_distributed_sampler_deals_as_pytorchs(n, ranks, drop_last):
    if drop_last and n < ranks:
        pytest.skip("no rank would have a sample")
    for rank in range(ranks):
        mine, oracle = (
            list(m.DistributedSampler(range(n), ranks, rank, False, drop_last=drop_last))
            for m in (ours, theirs)
        )
        assert mine == oracle
        lengths = [
            len(m.DistributedSampler(range(n), ranks, rank, True, 3, drop_last))
            for m in (ours, theirs)
        ]
        assert lengths[0] == lengths[1]


@pytest.mark.parametrize("lengths", [[0.5, 0.5], [0.3, 0.3, 0.4], [10, 7], [1 / 3] * 3])
def test_random_split_has_the_lengths_of_pytorchs(lengths):
    parts = [[len(p) for p in m.random_split(range(17), lengths)] for m in (ours, theirs)]
    assert parts[0] == parts[1]


def test_a_stream_is_cut_as_pytorch_cuts_it():
    def streams(module):
        class Stream(module.IterableDataset):
            def __iter__(self):
                return iter([(i, float(i)) for i in range(11)])

        return module.DataLoader(module.ChainDataset([Stream(), Stream()]), 5)

    def body():
        found = [[plain(b) for b in streams(m)] for m in (ours, theirs)]
        assert found[0] == found[1]

    alone(body)


def test_weights_are_drawn_as_often():
    counts = [
        np.bincount(list(m.WeightedRandomSampler([1.0, 2.0, 5.0], 20000)), minlength=3)
        for m in (ours, theirs)
    ]
    np.testing.assert_allclose(counts[0], counts[1], rtol=0.15)
    assert all(a < b for a, b in pairwise(counts[0]))


@pytest.mark.parametrize("name", ["distributed", "sampler", "dataset", "dataloader"])
def test_the_modules_of_torch_utils_data_hold_the_same_names(name):
    mine = importlib.import_module(f"distgrad.utils.data.{name}")
    oracle = importlib.import_module(f"torch.utils.data.{name}")
    for n in mine.__all__:
        assert getattr(mine, n) is getattr(ours, n)
    assert set(mine.__all__) >= set(oracle.__all__) & set(ours.__all__)
