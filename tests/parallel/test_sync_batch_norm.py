"""SyncBatchNorm: ranks that share a batch compute what one process computes on the whole of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from algorithms import EVERYWHERE
from training import alone, simulated

import distgrad as dg
from distgrad import nn
from distgrad.nn import functional as F

ROWS = 29  # uneven over 2, 3 and 4 ranks
AFTER = ("weight", "bias", "running_mean", "running_var")


def samples() -> tuple[Any, Any]:
    i = np.arange(ROWS)
    x = np.sin(np.outer(i + 1, np.arange(1, 49))).reshape(ROWS, 3, 4, 4) * 2 + 0.5
    return x, (i * i) % 5


def network(kind: Any) -> nn.Module:
    dg.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), kind(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), kind(6),
        nn.Tanh(), nn.Linear(6, 5),
    ).to(np.float64)  # fmt: skip


class BatchNorm(nn.SyncBatchNorm):
    """Of one process: no sum is lent to it."""


def whole_batch() -> tuple[list[Any], dict[str, Any]]:
    model = network(BatchNorm)
    x, y = samples()
    F.cross_entropy(model(x), y).backward()
    return [p.grad.array for p in model.parameters()], model.state_dict()


def shared(algorithm: str | None, shards: int | None = None) -> tuple[list[Any], dict[str, Any]]:
    dg.init(shards=shards)
    model = network(nn.SyncBatchNorm)
    ddp = dg.DistributedDataParallel(model, algorithm=algorithm, bucket_mb=0.0005)
    for batch in dg.data.DataLoader(dg.data.ArrayDataset(*samples()), ROWS):
        for x, y in batch.shards:
            ddp.backward(F.cross_entropy(model(x), y))
    gradients = [p.grad.array.copy() for p in model.parameters()]
    return gradients, {n: a.copy() for n, a in model.state_dict().items()}


def assert_like_whole(found: tuple[list[Any], dict[str, Any]]) -> None:
    gradients, state = whole_batch()
    for a, b in zip(found[0], gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)
    for name, value in state.items():
        # The bridge hands statistics on in single precision.
        np.testing.assert_allclose(found[1][name], value, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("algorithm", EVERYWHERE)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_gradients_and_statistics_are_those_of_the_whole_batch(size: int, algorithm: str) -> None:
    for found in simulated(size, lambda: shared(algorithm)):
        assert_like_whole(found)


@pytest.mark.mpi
@pytest.mark.parametrize("algorithm", EVERYWHERE)
def test_under_mpi_too(algorithm: str) -> None:
    assert_like_whole(alone(lambda: shared(algorithm)))


def test_all_ranks_have_the_same_bits_under_any_interleaving() -> None:
    runs = [simulated(4, lambda: shared(None, shards=4), schedule=s) for s in (None, 1, 2)]
    first = runs[0][0]
    for ranks in runs:
        for gradients, state in ranks:
            for a, b in zip(gradients, first[0], strict=True):
                assert np.array_equal(a, b)
            assert nn.state_sha256(state) == nn.state_sha256(first[1])


def test_more_shards_than_ranks_are_refused() -> None:
    def body() -> None:
        dg.init(shards=4)
        dg.DistributedDataParallel(network(nn.SyncBatchNorm))

    with pytest.raises(dg.CommError, match=r"'1' is a SyncBatchNorm and there are 4 shards on 1"):
        alone(body)


def test_alone_it_is_batch_norm() -> None:
    x = samples()[0].astype(np.float32)
    ours, other = nn.SyncBatchNorm(3), nn.BatchNorm2d(3)
    np.testing.assert_array_equal(ours(x).array, other(x).array)
    assert list(ours.state_dict()) == list(other.state_dict())
    np.testing.assert_array_equal(ours.eval()(x).array, other.eval()(x).array)


@pytest.mark.parametrize("affine", [True, False])
def test_sums_of_float16_are_taken_in_float32(affine: bool) -> None:
    # 70,000 rows: their number, their sum and that of the squares exceed 65504.
    rows = np.random.default_rng(4).normal(300, 90, (70_000, 3)).astype(np.float16)
    ours, other = (nn.SyncBatchNorm(3, affine=affine) for _ in range(2))
    ours._sum_over_ranks = lambda x: x
    y, expected = ours(rows), other(rows)
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(y.array, expected.array, atol=4e-3)
    np.testing.assert_allclose(ours.running_var.array, other.running_var.array, rtol=1e-3)


def test_converting_keeps_parameters_state_and_mode() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3, momentum=None)))
    model[1][0].running_mean.array[...] = 7
    held = list(model.parameters())
    before = {n: a.copy() for n, a in model.state_dict().items()}
    model.eval()
    assert nn.SyncBatchNorm.convert_sync_batchnorm(model) is model
    norm = model[1][0]
    assert type(norm) is nn.SyncBatchNorm
    assert norm.momentum is None
    assert not norm.training
    assert all(a is b for a, b in zip(model.parameters(), held, strict=True))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert type(nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm2d(4))) is nn.SyncBatchNorm


@pytest.mark.parametrize("size", [3, 4])
def test_ranks_without_a_sample_take_part_in_the_norm(size: int) -> None:
    def body() -> tuple[str, int]:
        dg.init()
        model = network(nn.SyncBatchNorm)
        ddp = dg.DistributedDataParallel(model)
        x, y = samples()
        seen = 0
        for batch in dg.data.DataLoader(dg.data.ArrayDataset(x[:8], y[:8]), 6):
            for a, b in batch.shards:
                seen += len(a)
                ddp.backward(F.cross_entropy(model(a), b))
        assert all(np.isfinite(p.grad.array).all() for p in model.parameters())
        return nn.state_sha256(model.state_dict()), seen

    found = simulated(size, body)
    assert len({sha for sha, _ in found}) == 1
    assert sum(seen for _, seen in found) == 8


def test_a_shared_norm_is_converted_once_in_all_its_places() -> None:
    norm = nn.BatchNorm1d(3)
    model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(norm, nn.ReLU(), norm))
    assert isinstance(model, nn.Sequential)
    assert type(model[0]) is nn.SyncBatchNorm
    assert model[0] is model[2]
