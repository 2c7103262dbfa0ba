"""What the reduced gradients are, against one process on the whole batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from algorithms import EVERYWHERE
from training import alone, simulated

import distgrad as dg
from distgrad import nn
from distgrad.comm import ALL_REDUCE
from distgrad.nn import functional as F

ROWS = 29  # uneven over 2, 3, 4 and 8 shards


def samples() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    i = np.arange(ROWS)
    return np.sin(np.outer(i + 1, np.arange(1, 13))), (i * i) % 5


def network() -> nn.Module:
    dg.manual_seed(1)
    return nn.Sequential(nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 5)).to(np.float64)


def whole_batch() -> list[np.ndarray[Any, Any]]:
    model = network()
    x, y = samples()
    F.cross_entropy(model(x), y).backward()
    return [p.grad.array for p in model.parameters()]


def reduced(shards: int | None, algorithm: str | None, bucket_mb: float = 4.0) -> list[Any]:
    dg.init(shards=shards)
    model = network()
    ddp = dg.DistributedDataParallel(model, algorithm=algorithm, bucket_mb=bucket_mb)
    loader = dg.data.DataLoader(dg.data.ArrayDataset(*samples()), ROWS)
    for batch in loader:
        for x, y in batch.shards:
            ddp.backward(F.cross_entropy(model(x), y))
    return [p.grad.array.copy() for p in model.parameters()]


def assert_equal_to_whole(found: list[Any]) -> None:
    for a, b in zip(found, whole_batch(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("algorithm", EVERYWHERE)
@pytest.mark.parametrize("shards", [None, 4, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_simulated_ranks_agree_with_one_process(
    size: int, shards: int | None, algorithm: str
) -> None:
    for found in simulated(size, lambda: reduced(shards, algorithm)):
        assert_equal_to_whole(found)


@pytest.mark.mpi
@pytest.mark.parametrize("algorithm", ALL_REDUCE)
@pytest.mark.parametrize("shards", [None, 8])
def test_mpi_ranks_agree_with_one_process(shards: int | None, algorithm: str) -> None:
    assert_equal_to_whole(alone(lambda: reduced(shards, algorithm, bucket_mb=0.001)))


def test_a_plain_backward_is_weighted_like_ddp_backward() -> None:
    def plain() -> list[Any]:
        dg.init(shards=4)
        model = network()
        dg.DistributedDataParallel(model)
        for batch in dg.data.DataLoader(dg.data.ArrayDataset(*samples()), ROWS):
            for x, y in batch.shards:
                F.cross_entropy(model(x), y).backward()
        return [p.grad.array.copy() for p in model.parameters()]

    for a, b in zip(simulated(3, plain)[0], simulated(3, lambda: reduced(4, None))[0], strict=True):
        assert np.array_equal(a, b)


def test_without_a_loader_the_ranks_are_averaged() -> None:
    def body() -> list[Any]:
        world = dg.init()
        model = network()
        dg.DistributedDataParallel(model)
        x, y = samples()
        rows = slice(world.rank * 9, world.rank * 9 + 9)
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        return [p.grad.array.copy() for p in model.parameters()]

    model = network()
    x, y = samples()
    F.cross_entropy(model(x[:27]), y[:27]).backward()
    for found in simulated(3, body):
        for a, p in zip(found, model.parameters(), strict=True):
            np.testing.assert_allclose(a, p.grad.array, rtol=1e-12, atol=1e-16)


def test_no_sync_accumulates_inside_a_shard() -> None:
    def body() -> list[Any]:
        dg.init(shards=4)
        model = network()
        ddp = dg.DistributedDataParallel(model)
        for batch in dg.data.DataLoader(dg.data.ArrayDataset(*samples()), ROWS):
            for x, y in batch.shards:
                cut = len(x) // 2
                with ddp.no_sync():
                    ddp.backward(F.cross_entropy(model(x[:cut]), y[:cut]) * (cut / len(x)))
                ddp.backward(F.cross_entropy(model(x[cut:]), y[cut:]) * (1 - cut / len(x)))
        return [p.grad.array.copy() for p in model.parameters()]

    for found in simulated(3, body):
        assert_equal_to_whole(found)


def test_gradients_that_were_not_zeroed_are_added_to() -> None:
    def body() -> list[Any]:
        dg.init(shards=4)
        model = network()
        ddp = dg.DistributedDataParallel(model)
        loader = dg.data.DataLoader(dg.data.ArrayDataset(*samples()), ROWS)
        for _ in range(2):
            for batch in loader:
                for x, y in batch.shards:
                    ddp.backward(F.cross_entropy(model(x), y))
        return [p.grad.array / 2 for p in model.parameters()]

    for found in simulated(3, body):
        assert_equal_to_whole(found)


class Branches(nn.Module):
    """Uses a part of its parameters, which part depends on the data; one is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.rare = nn.Linear(12, 12)
        self.never = nn.Linear(12, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Any) -> Any:
        h = np.tanh(self.first(self.first(x)))
        if x[0, 0] > 0.5:  # true in some shards only
            h = h + self.rare(h)
        return self.head(h)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_unused_and_shared_parameters_need_no_flag(size: int) -> None:
    def body(distributed: bool) -> tuple[dict[str, Any], list[str]]:
        world = dg.init(shards=4)
        dg.manual_seed(5)
        model = Branches().to(np.float64)
        if distributed:
            dg.DistributedDataParallel(model)
        x, y = samples()
        for step in range(2):  # twice: nothing of the first step may be left
            model.zero_grad()
            for rows in dg.own_shards(world, step, ROWS):
                part = slice(rows.start, rows.stop)
                loss = F.cross_entropy(model(x[part]), y[part])
                loss.backward(None if distributed else np.float64(len(rows) / ROWS))
        found = {n: p.grad.array.copy() for n, p in model.named_parameters() if p.grad is not None}
        return found, [n for n, p in model.named_parameters() if p.grad is None]

    oracle, unused = simulated(1, lambda: body(distributed=False))[0]
    assert unused == ["never.weight", "never.bias"]
    for found, none in simulated(size, lambda: body(distributed=True)):
        assert none == unused
        for n, g in oracle.items():
            np.testing.assert_allclose(found[n], g, rtol=1e-12, atol=1e-16)


def test_batch_norm_follows_the_weighted_mean_over_the_shards() -> None:
    def body() -> tuple[Any, Any, int]:
        dg.init(shards=4)
        model = nn.Sequential(nn.BatchNorm1d(12), nn.Linear(12, 5))
        ddp = dg.DistributedDataParallel(model)
        x, y = samples()
        data = dg.data.ArrayDataset(x.astype(np.float32), y)
        for batch in dg.data.DataLoader(data, ROWS):
            for x, y in batch.shards:
                ddp.backward(F.cross_entropy(model(x), y))
        norm: Any = model[0]
        return norm.running_mean.array, norm.running_var.array, int(norm.num_batches_tracked)

    x = samples()[0]
    parts = [x[0:8], x[8:15], x[15:22], x[22:29]]
    mean = sum(p.mean(0) * len(p) for p in parts) / ROWS
    var = sum(p.var(0, ddof=1) * len(p) for p in parts) / ROWS
    for size in (1, 3, 4):
        for found_mean, found_var, count in simulated(size, body):
            np.testing.assert_allclose(found_mean, 0.1 * mean, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found_var, 0.9 + 0.1 * var, rtol=1e-5)
            assert count == 1
