"""DataLoader(batch_size=…): what samples become, streams, and settings that go together or not."""

from __future__ import annotations

from collections import namedtuple
from itertools import chain
from typing import Any

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import DataError
from distgrad.nn import functional as F
from distgrad.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
)

N = 29


def data(n: int = N) -> TensorDataset:
    i = np.arange(n)
    x = np.sin(np.outer(i + 1, np.arange(1, 5))).astype(np.float32)
    return TensorDataset(dg.Tensor(x), dg.Tensor((i * i) % 3))


class Numbers(Dataset):
    def __init__(self, n: int = N) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> int:
        return i


class Stream(IterableDataset):
    def __init__(self, n: int = N, start: int = 0) -> None:
        self.n, self.start = n, start

    def __iter__(self):
        for i in range(self.start, self.n):
            yield i, dg.random.normal((2,))


def joined(lists: Any) -> list[Any]:
    return list(chain.from_iterable(lists))


def seen(loader: Any) -> list[list[int]]:
    return [batch.array.tolist() for batch in loader]


# -- what samples become --------------------------------------------------------------------------

Point = namedtuple("Point", "x y")


class Mixed(Dataset):
    def __len__(self) -> int:
        return 7

    def __getitem__(self, i: int) -> Any:
        return {
            "tensor": dg.Tensor(np.full(2, i, np.float32)),
            "array": np.full(2, i, np.float16),
            "int": i,
            "float": i / 2,
            "bool": i > 3,
            "text": f"sample {i}",
            "pair": (i, [np.float32(i), Point(i, -i)]),
        }


def test_dicts_numbers_and_nested_samples_are_collated():
    def body():
        _, batch = DataLoader(Mixed(), 4)
        assert batch["tensor"].array.tolist() == [[4, 4], [5, 5], [6, 6]]
        kinds = {k: v.dtype.name for k, v in batch.items() if isinstance(v, dg.Tensor)}
        assert kinds == {
            "tensor": "float32",
            "array": "float16",
            "int": "int64",
            "float": "float64",
            "bool": "bool",
        }
        assert list(batch["text"]) == ["sample 4", "sample 5", "sample 6"]
        i, (x, point) = batch["pair"]
        assert (i.dtype, x.dtype, type(point)) == (np.int64, np.float32, Point)
        assert point.y.array.tolist() == [-4, -5, -6]

    alone(body)


def test_a_rank_without_samples_gets_the_structure_empty():
    def body():
        rank = dg.init().rank
        batch = next(iter(DataLoader(Mixed(), 2)))
        n = 1 if rank < 2 else 0
        assert batch["tensor"].shape == (n, 2)
        assert len(batch["text"]) == n
        assert batch["pair"][1][1].y.shape == (n,)

    simulated(3, body)


class Ragged(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        return np.arange(i + 2, dtype=np.float32)


def padded(samples: list[Any]) -> dict[str, Any]:
    """Batches along axis 1, as recurrent networks take them, and what else people return."""
    longest = max(map(len, samples))
    x = np.stack([np.pad(s, (0, longest - len(s))) for s in samples], axis=1)
    return {
        "x": dg.Tensor(x),
        "joined": np.concatenate(samples),
        "lengths": [len(s) for s in samples],
        "samples": samples,
        "count": len(samples),
        "pad": 0.5,
        "table": np.ones((1, 3)),
    }


def test_a_rank_without_samples_gets_an_own_collate_fns_batch_empty():
    def body():
        rank = dg.init().rank
        batch = next(iter(DataLoader(Ragged(), 2, collate_fn=padded)))
        if rank < 2:
            return
        assert batch["x"].shape == (2, 0)
        assert batch["joined"].shape == (0,)
        assert batch["lengths"] == []
        assert batch["samples"] == []
        assert batch["count"] == 0
        assert batch["pad"] == 0.5
        assert batch["table"].shape == (1, 3)

    simulated(3, body)


def test_a_batch_that_cannot_be_empty_is_an_error_where_it_must_be():
    def body():
        for _ in DataLoader(Ragged(), 2, collate_fn=lambda samples: object()):
            pass

    with pytest.raises(DataError, match=r"no sample of a small batch, .* made a object, .*drop_la"):
        simulated(3, body)
    simulated(2, body)


def test_collate_fn_is_given_the_list_of_samples():
    def body():
        loader = DataLoader(Numbers(5), 3, collate_fn=sum)
        assert list(loader) == [3, 7]
        loader = dg.data.DataLoader(Numbers(6), 3, collate_fn=dg.data.default_collate)
        assert [x.array.tolist() for b in loader for x in b.shards] == [[0, 1, 2], [3, 4, 5]]

    alone(body)


def test_batch_size_none_gives_single_samples():
    def body():
        samples = list(DataLoader(Mixed(), None))
        assert len(samples) == 7
        assert samples[3]["array"].shape == (2,)
        assert isinstance(samples[3]["array"], dg.Tensor)
        assert samples[3]["int"] == 3

    alone(body)


def test_batch_size_none_has_no_parts_for_several_ranks():
    with pytest.raises(DataError, match="on several ranks a sample has no parts"):
        simulated(2, lambda: DataLoader(Mixed(), None))


# -- streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_stream_is_read_whole_by_every_rank_which_takes_its_part(ranks):
    def body():
        dg.manual_seed(6)
        loader = DataLoader(Stream(), 9)
        return [[x.array.tolist() for x, _ in loader], [r.array.tolist() for _, r in loader]]

    whole = simulated(1, body)[0]
    parts = simulated(ranks, body)
    for i in range(2):  # the numbers, and what the stream drew at random
        together = [joined(b) for b in zip(*[p[i] for p in parts], strict=True)]
        assert together == whole[i]
    assert joined(whole[0]) == list(range(N))


def test_a_streams_loader_has_the_length_that_the_stream_tells():
    def body():
        loader = DataLoader(Stream(), 9, drop_last=True)
        assert len(list(loader)) == 3
        with pytest.raises(TypeError, match=r"a Stream is a stream that has no __len__"):
            len(loader)
        both = dg.data.ChainDataset([Stream(3), Stream(8, 5)])
        assert [x.array.tolist() for x, _ in DataLoader(both, 4)] == [[0, 1, 2, 5], [6, 7]]

    alone(body)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shuffle": True}, "an IterableDataset has an order of its own"),
        ({"sampler": SequentialSampler(range(3))}, "an IterableDataset has an order of its own"),
    ],
)
def test_what_a_stream_cannot_have_is_refused(settings, message):
    with pytest.raises(DataError, match=message):
        alone(lambda: DataLoader(Stream(), 4, **settings))


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 4, "global_batch_size": 4}, r"=4 and batch_size=4: give one"),
        ({"batch_size": 0}, "batch_size=0: a whole number of samples, 1 or more"),
        ({"batch_size": 2.5}, "batch_size=2.5: a whole number"),
        ({"sampler": [1, 2], "shuffle": True}, "sampler= decides about shuffle= itself"),
        ({"batch_sampler": [[1]], "batch_size": 4}, "batch_sampler= decides about batch_size="),
        ({"batch_sampler": [[1]], "drop_last": True}, "batch_sampler= decides about drop_last="),
        ({"batch_sampler": [[1]], "sampler": [1]}, "batch_sampler= decides about sampler="),
        ({"num_workers": -1}, "num_workers=-1: a number of processes"),
        ({"prefetch_factor": 2}, "are about worker processes: ask for some with num_workers="),
        ({"persistent_workers": True}, "are about worker processes"),
        ({"timeout": -1, "num_workers": 1}, "timeout=-1: seconds, 0 to wait for ever"),
        ({"multiprocessing_context": "fork"}, "workers are never forks of a rank"),
        ({"in_order": False}, "in_order=False: batches come in order"),
        ({"pin_memory_device": "cuda"}, "there are no GPUs here"),
        ({"generator": "seven"}, "generator='seven': give a seed"),
        ({"batch_size": 40, "drop_last": True}, "drop_last=True drops them all"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(DataError, match=message):
        alone(lambda: DataLoader(Numbers(), **settings))


def test_neither_size_is_refused_where_pytorchs_default_is_not_meant():
    with pytest.raises(DataError, match="say how many samples a batch has"):
        alone(lambda: dg.data.DataLoader(Numbers()))
    assert alone(lambda: seen(DataLoader(Numbers(3)))) == [[0], [1], [2]]


def test_harmless_settings_of_pytorch_are_taken():
    def body():
        loader = DataLoader(Numbers(), 8, pin_memory=True, multiprocessing_context="spawn")
        assert (loader.batch_size, loader.num_workers, loader.pin_memory) == (8, 0, True)
        assert len(loader.dataset) == N

    alone(body)


def test_a_loader_tells_its_samplers():
    def body():
        loader = DataLoader(Numbers(), 8, shuffle=True, generator=3)
        for _ in range(2):
            assert list(loader.batch_sampler) == (order := list(loader.batch_sampler))
            assert len(loader.sampler) == N
            assert seen(loader) == order
        plain = DataLoader(Numbers(), 8, drop_last=True)
        assert list(plain.sampler) == list(range(N))
        assert len(plain.batch_sampler) == len(plain) == 3
        given = [1, 2]
        assert DataLoader(Numbers(), 8, sampler=given).sampler is given
        assert DataLoader(Numbers(), batch_sampler=[given]).batch_sampler == [given]
        assert DataLoader(Stream(), 8).sampler is None
        assert DataLoader(Numbers(), None).batch_sampler is None

    alone(body)


def test_a_batch_unpacked_as_pytorchs_names_both_ways_out():
    def body():
        for _, _ in dg.data.DataLoader(data(), 8):
            pass

    with pytest.raises(DataError, match=r"`for x, y in batch.shards:`; .*batch_size= instead"):
        alone(body)


def test_the_trainer_takes_a_loader_with_batch_size():
    def body(make):
        dg.init(shards=2)
        dg.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        trainer = dg.Trainer(model, optimizer, F.cross_entropy, progress=False)
        state = trainer.fit(make(), epochs=2)
        return state.step, trainer.evaluate(make()), nn.state_sha256(model.state_dict())

    found = [
        simulated(r, lambda make=make: body(make))[0]
        for r in (1, 2)
        for make in (
            lambda: DataLoader(data(), 8, shuffle=True),
            lambda: dg.data.DataLoader(data(), 8, shuffle=True),
        )
    ]
    assert found == [found[0]] * 4
