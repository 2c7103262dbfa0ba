"""Running statistics under shards: the mean over a batch's shards, applied once a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import nn

ROWS, BATCH = 23, 9  # shards of 3, 2, 2, 2 samples; a last batch of 5
LAYERS = {
    "average of all batches": (lambda: nn.BatchNorm1d(3, momentum=None), True),
    "momentum": (lambda: nn.BatchNorm1d(3, momentum=0.3), True),
    "instances": (lambda: nn.InstanceNorm1d(3, 1e-5, 0.3, track_running_stats=True), False),
}


def samples() -> np.ndarray[Any, Any]:
    i = np.arange(ROWS * 3 * 4, dtype=np.float32)
    return np.sin(i * i).reshape(ROWS, 3, 4) + i.reshape(ROWS, 3, 4) / i.size


def trained(name: str) -> dict[str, Any]:
    dg.init(shards=4)
    model = nn.Sequential(nn.Identity(), LAYERS[name][0](), nn.Flatten(), nn.Linear(12, 1))
    ddp = dg.DistributedDataParallel(model)
    loader = dg.data.DataLoader(dg.data.ArrayDataset(samples(), np.zeros(ROWS)), BATCH)
    for batch in loader:
        for x, _ in batch.shards:
            ddp.backward(model(x).mean())
    return {n: a.copy() for n, a in model[1].state_dict().items()}


def expected(name: str) -> dict[str, Any]:
    """The same by hand: a shard's statistics count as much as its samples."""
    make, pooled = LAYERS[name]
    layer = make()
    axes, state = ((0, 2) if pooled else 2), [np.zeros(3), np.ones(3)]
    batches = [samples()[i : i + BATCH] for i in range(0, ROWS, BATCH)]
    for number, batch in enumerate(batches, 1):
        parts = [p.astype(np.float64) for p in np.array_split(batch, 4)]
        for k, value in enumerate((lambda x: x.mean(axes), lambda x: x.var(axes, ddof=1))):
            per_shard = [value(p) if pooled else value(p).mean(0) for p in parts]
            mean = sum(v * len(p) for v, p in zip(per_shard, parts, strict=True)) / len(batch)
            rate = 1 / number if layer.momentum is None else layer.momentum
            state[k] = state[k] + rate * (mean - state[k])
    count = len(batches) if pooled else 0
    return {"running_mean": state[0], "running_var": state[1], "num_batches_tracked": count}


@pytest.mark.parametrize("name", LAYERS)
def test_they_follow_the_mean_over_the_shards_on_any_number_of_ranks(name: str) -> None:
    results = [r for size in (1, 3, 4) for r in simulated(size, lambda: trained(name))]
    for key, value in expected(name).items():
        np.testing.assert_allclose(results[0][key], value, rtol=1e-5, atol=1e-6, err_msg=key)
        for other in results[1:]:
            np.testing.assert_array_equal(other[key], results[0][key])


class Uneven(nn.Module):
    """Layers of different widths: one is called twice in a pass, one once, one never."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never, self.once = (nn.BatchNorm1d(n, momentum=1.0) for n in (3, 2, 7))

    def forward(self, x: Any) -> Any:
        return self.twice(x[:, :3]).mean() + self.twice(x[:, 4:7]).mean() + self.once(x).mean()


def test_layers_of_different_widths_and_numbers_of_calls_get_their_own() -> None:
    rows = np.arange(8 * 7, dtype=np.float32).reshape(8, 7) % 11

    def body() -> dict[str, Any]:
        world = dg.init(shards=4)
        model = Uneven()
        ddp = dg.DistributedDataParallel(model)
        for own in dg.own_shards(world, 0, len(rows)):
            ddp.backward(model(dg.Tensor(rows[own])))
        return {n: a.copy() for n, a in model.state_dict().items()}

    for state in [*simulated(1, body), *simulated(3, body)]:
        mean = rows.mean(axis=0)
        np.testing.assert_allclose(state["twice.running_mean"], (mean[:3] + mean[4:]) / 2)
        np.testing.assert_allclose(state["once.running_mean"], mean)
        assert state["never.running_mean"].tolist() == [0, 0]


def learnt(other: str) -> Any:
    """The running mean after batches with forward passes besides those that are learnt from."""
    dg.init(shards=4)
    layer = nn.BatchNorm1d(3, momentum=1.0)
    ddp = dg.DistributedDataParallel(layer)
    for batch in dg.data.DataLoader(dg.data.ArrayDataset(samples()), BATCH):
        kept: list[Any] = []
        if other == "in another walk":
            kept = [layer(x) for (x,) in batch.shards]
        if other == "detached before":
            for (x,) in batch.shards:
                layer(3 * x).detach()
        for i, (x,) in enumerate(batch.shards):
            ddp.backward((kept[i] if kept else layer(x)).mean())
        if other == "after the last":
            for (x,) in batch.shards:
                layer(9 * x)
        if other == "for show":
            layer(9 * samples()[:5])
    return layer.running_mean.array.copy()


@pytest.mark.parametrize("other", ["after the last", "for show", "in another walk"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_passes_count_that_a_backward_of_their_shard_and_batch_follows(
    size: int, other: str
) -> None:
    (expected,) = simulated(1, lambda: learnt(""))
    for found in simulated(size, lambda: learnt(other)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_detached_pass_counts_with_that_of_its_own_shard(size: int) -> None:
    (plain,) = simulated(1, lambda: learnt(""))  # layer(3 x) and layer(x): twice the mean of x
    for found in simulated(size, lambda: learnt("detached before")):
        np.testing.assert_allclose(found, 2 * plain, rtol=1e-5)


def test_a_model_that_never_learns_gathers_no_more_than_so_many_passes() -> None:
    def body() -> int:
        world = dg.init(shards=2)
        ddp = dg.DistributedDataParallel(nn.BatchNorm1d(3))
        for step in range(600):
            for _ in dg.own_shards(world, step, 4):
                ddp(samples()[:2])
        return len(ddp.reducer.statistics._seen)

    assert simulated(1, body) == [1024]
