"""Trainer.predict: every sample's output in the loader's order, whoever computed it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.errors import DistgradError
from distgrad.nn import functional as F

N = 23  # batches of 10: the last one has fewer samples than there are shards


def inputs() -> np.ndarray:
    return np.sin(np.outer(np.arange(N) + 1, np.arange(1, 4))).astype(np.float32)


def labels() -> np.ndarray:
    return np.arange(N) % 2


def trainer(model: nn.Module, **settings: Any) -> dg.Trainer:
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    return dg.Trainer(model, optimizer, F.cross_entropy, progress=False, **settings)


def net(shards: int | None = 4) -> nn.Module:
    dg.init(shards)
    dg.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def loader(*arrays: np.ndarray, batch: int = 10, **settings: Any) -> dg.data.DataLoader:
    return dg.data.DataLoader(dg.data.ArrayDataset(*arrays), batch, **settings)


def alone(model: nn.Module, x: np.ndarray) -> np.ndarray:
    model.eval()
    with dg.no_grad():
        return np.array(model(x).array)


@pytest.mark.parametrize("zero", [0, 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_each_sample_has_its_row_on_every_rank(size: int, zero: int) -> None:
    def body() -> tuple[np.ndarray, np.ndarray, bool]:
        made = trainer(net(), zero=zero)
        made.fit(loader(inputs(), labels()), epochs=1)
        found = made.predict(loader(inputs(), labels()))
        with made.ddp.summon_full_parameters():
            training = made.model.training
            return found, alone(made.model, inputs()), training

    everyones = run_ranks(size, body)
    for found, expected, training in everyones:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert training  # as it was before
        assert found.tobytes() == everyones[0][0].tobytes()
    assert everyones[0][0].tobytes() == run_ranks(1, body)[0][0].tobytes()


def test_a_small_last_batch_leaves_a_rank_without_samples_and_nothing_out() -> None:
    def body() -> np.ndarray:
        return trainer(net()).predict(loader(inputs()[:11]))

    for found in run_ranks(3, body):
        assert found.shape == (11, 2)


class Said(NamedTuple):
    double: Any
    parts: Any


class Structured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.full(1, 2.0, np.float32))

    def forward(self, x: Any, y: Any) -> Said:
        return Said(x * self.scale, {"sum": x.sum(axis=1) + y, "same": [x]})


def test_outputs_keep_the_structure_that_the_model_gives_them() -> None:
    def body() -> Said:
        dg.init(shards=4)
        return trainer(Structured()).predict(loader(inputs(), labels()), inputs=2)

    for found in run_ranks(3, body):
        assert type(found) is Said
        np.testing.assert_array_equal(found.double, 2 * inputs())
        np.testing.assert_allclose(found.parts["sum"], inputs().sum(1) + labels(), rtol=1e-6)
        np.testing.assert_array_equal(found.parts["same"][0], inputs())


def test_a_loader_of_tensors_and_one_left_half_way_are_read_whole() -> None:
    def body() -> tuple[np.ndarray, np.ndarray]:
        made = trainer(net())
        torchlike = dg.data.DataLoader(dg.data.TensorDataset(dg.tensor(inputs())), batch_size=10)
        half = loader(inputs())
        next(iter(half))
        return made.predict(torchlike), made.predict(half)

    for first, second in run_ranks(2, body):
        assert len(first) == N
        assert first.tobytes() == second.tobytes()


class Grows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x: Any) -> Any:
        return x[:, : len(x) % 2 + 1] * self.scale


class Flat(Grows):
    def forward(self, x: Any) -> Any:
        return (x * self.scale).reshape(-1)


class Counted(Grows):
    def forward(self, x: Any) -> Any:
        return x, len(x)


@pytest.mark.parametrize(
    ("model", "how", "message"),
    [
        (net, {"shuffle": True}, "this one shuffles: make another .* shuffle=False"),
        (Grows, {}, r"differ in their shapes, \[\(1,\), \(2,\)\]"),
        (Flat, {}, r"the shape \(9,\) for 3 samples"),
        (Counted, {}, "has a int in it; it takes Tensors"),
    ],
)
def test_what_cannot_be_put_in_order_is_refused(model: Any, how: Any, message: str) -> None:
    def body() -> None:
        dg.init(shards=4)
        trainer(model()).predict(loader(inputs(), labels(), **how))

    with pytest.raises(DistgradError, match=message):
        run_ranks(1, body)


class Nothing(dg.data.IterableDataset):
    def __iter__(self) -> Any:
        return iter(())


def test_a_loader_without_samples_is_refused() -> None:
    with pytest.raises(DistgradError, match="predict: the loader gave no sample"):
        run_ranks(2, lambda: trainer(net()).predict(dg.data.DataLoader(Nothing(), 4)))


def test_a_sampler_that_gives_each_rank_its_own_is_refused_with_the_cure() -> None:
    def body() -> None:
        made, data = trainer(net(None)), dg.data.ArrayDataset(inputs())
        rank = dg.current_world().rank
        sampler = dg.data.DistributedSampler(data, num_replicas=2, rank=rank)
        made.predict(dg.data.DataLoader(data, batch_size=5, sampler=sampler))

    with pytest.raises(DistgradError, match="DistributedSampler gives each rank its own"):
        run_ranks(2, body)


@pytest.mark.parametrize("number", [0, 3])
def test_more_inputs_than_a_sample_has_are_refused(number: int) -> None:
    with pytest.raises(DistgradError, match=f"inputs={number} of a sample's 2 arrays"):
        run_ranks(1, lambda: trainer(net()).predict(loader(inputs(), labels()), inputs=number))
