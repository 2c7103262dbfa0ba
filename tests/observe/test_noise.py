"""The gradient-noise scale, on problems whose noise is known."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import nn
from distgrad.comm import run_ranks

SIZE = 20
SIGMA = 0.5


class Slope(nn.Module):
    """Its loss is the mean of x @ w: the gradient of a sample is the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(np.zeros(SIZE))

    def forward(self, x: Any) -> Any:
        return np.mean(x @ self.w)


def batch(step: int, rows: range) -> Any:
    """Samples of mean 0.1 in every direction, and of variance SIGMA²."""
    rng = np.random.default_rng([7, step])
    return rng.normal(0.1, SIGMA, (400, SIZE))[rows.start : rows.stop]


def estimated(
    total: int = 32, batches: int = 200, shards: int = 8, **settings: Any
) -> dg.GradientNoiseScale:
    world = dg.init(shards=shards)
    model = Slope()
    noise = dg.GradientNoiseScale(model, **settings)
    ddp = dg.DistributedDataParallel(model)
    for step in range(batches):
        model.zero_grad()
        for rows in dg.own_shards(world, step, total):
            ddp.backward(model(batch(step, rows)))
    return noise


@pytest.mark.parametrize("total", [32, 29])  # equal shards, and shards of 4 and 3 samples
def test_noise_signal_and_their_ratio_are_those_of_the_samples(total: int) -> None:
    [noise] = run_ranks(1, lambda: estimated(total, 300, beta=0.995))
    assert noise.noise == pytest.approx(SIZE * SIGMA**2, rel=0.03)
    assert noise.signal == pytest.approx(SIZE * 0.1**2, rel=0.1)
    assert noise.value == pytest.approx(25.0, rel=0.1)


def test_one_batch_is_the_papers_formula() -> None:
    [noise] = run_ranks(1, lambda: estimated(batches=1))
    parts = batch(0, range(32)).reshape(8, 4, SIZE)
    small = np.mean([np.sum(p.mean(0) ** 2) for p in parts])
    large = np.sum(parts.mean((0, 1)) ** 2)
    assert noise.signal == pytest.approx((32 * large - 4 * small) / (32 - 4), rel=1e-10)
    assert noise.noise == pytest.approx((small - large) / (1 / 4 - 1 / 32), rel=1e-10)


@pytest.mark.parametrize("total", [32, 5])  # of 5 samples three shards get none
def test_the_bits_are_the_same_on_any_number_of_ranks(total: int) -> None:
    found = [
        n.value.hex() for size in (1, 2, 3, 8) for n in simulated(size, lambda: estimated(total, 5))
    ]
    assert len(found) == 14
    assert len(set(found)) == 1


def test_only_every_so_many_batches_are_measured() -> None:
    sparse, dense = run_ranks(
        1, lambda: (estimated(batches=5, every=4, beta=0), estimated(batches=5, beta=0))
    )[0]
    assert sparse.batches == 5
    assert sparse.value == dense.value  # both of the fifth batch alone


def test_a_resumed_estimate_goes_on_as_if_nothing_had_happened() -> None:
    def body() -> tuple[float, float]:
        whole = estimated(batches=6)
        resumed = dg.GradientNoiseScale(Slope())
        resumed.load_state_dict(json.loads(json.dumps(estimated(batches=6).state_dict())))
        return whole.value, resumed.value

    [(whole, resumed)] = run_ranks(1, body)
    assert whole == resumed


def test_before_the_first_batch_nothing_is_known() -> None:
    noise = dg.GradientNoiseScale(Slope())
    assert math.isnan(noise.value)
    assert math.isnan(noise.noise)
    assert math.isnan(noise.signal)


def test_a_batch_that_is_not_finite_is_left_out() -> None:
    def body() -> tuple[float, float]:
        world = dg.init(shards=2)
        model = Slope()
        noise = dg.GradientNoiseScale(model)
        ddp = dg.DistributedDataParallel(model, nonfinite="skip")
        values = []
        for step, factor in enumerate([1.0, math.nan]):
            model.zero_grad()
            for rows in dg.own_shards(world, step, 8):
                ddp.backward(model(batch(step, rows)) * factor)
            values.append(noise.value)
        return values[0], values[1]

    for first, second in simulated(2, body):
        assert first == second


def test_one_shard_alone_is_refused() -> None:
    with pytest.raises(dg.GradError, match=r"there is only one: .* dg.init\(shards=8\)"):
        run_ranks(1, lambda: estimated(shards=1))


def test_a_gradient_of_an_unknown_number_of_samples_is_refused() -> None:
    def body() -> None:
        dg.init()
        model = Slope()
        dg.GradientNoiseScale(model)
        dg.DistributedDataParallel(model).backward(model(batch(0, range(4))))

    with pytest.raises(dg.GradError, match=r"how many samples .* `for x, y in batch.shards`"):
        run_ranks(2, body)


@pytest.mark.parametrize("settings", [{"every": 0}, {"beta": 1.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(dg.ShapeError, match=r"GradientNoiseScale: (every|beta) is .*; got"):
        dg.GradientNoiseScale(Slope(), **settings)
