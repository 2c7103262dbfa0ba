"""Sharded models that use their parameters in every way: the bits of zero=0, nothing read in vain.

With zero=3 between nodes a rank gives back what others keep, under arrays that closures hold. Here
what is given back becomes NaN, so that whoever reads it is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from training import simulated
from zero_models import MODELS, WIDTH, given_back_is_nan

import distgrad as dg
from distgrad import nn, optim
from distgrad.autograd.flat import held
from distgrad.nn import functional as F

WORLDS: list[tuple[int, int, Sequence[int] | None]] = [
    *((zero, 3, nodes) for zero in (1, 2, 3) for nodes in (None, [1, 1, 1])),  # uneven shards
    (3, 3, [2, 1]),
    (3, 2, [1, 1]),  # two shards each
    (3, 4, [2, 1, 1]),  # one each
    (3, 4, [3, 1]),
]
TINY = 1e-4  # MiB: a bucket for nearly every parameter


given_back = pytest.fixture(autouse=True)(given_back_is_nan)


def samples() -> Any:
    i = np.arange(40)
    x = np.sin(np.outer(i + 1, np.arange(1, WIDTH + 1))).astype(np.float32)
    return dg.data.ArrayDataset(x, (i * i) % 3)


Backward = Callable[[Any, nn.Module, Any, Any], None]


def plain(ddp: Any, model: nn.Module, x: Any, y: Any) -> None:
    ddp.backward(F.cross_entropy(model(x), y))


def trained(
    make: Callable[[], nn.Module],
    zero: int,
    backward: Backward = plain,
    after: Callable[[Any, nn.Module], None] | None = None,
    bucket_mb: float = TINY,
) -> str:
    """Train four steps and return the SHA-256 of the model."""
    dg.init(shards=4)
    dg.manual_seed(1)
    model = make()
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    ddp = dg.DistributedDataParallel(model, zero=zero, bucket_mb=bucket_mb)
    for batch in dg.data.DataLoader(samples(), 12, shuffle=True, seed=2):
        optimizer.zero_grad()
        for x, y in batch.shards:
            backward(ddp, model, x, y)
        dg.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if after is not None:
            after(ddp, model)
    return nn.state_sha256(model.state_dict())


@cache
def expected(name: str) -> str:
    return simulated(1, lambda: trained(MODELS[name], 0))[0]


@pytest.mark.parametrize(("zero", "size", "nodes"), WORLDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_to_the_bits_of_zero_0_with(
    name: str, zero: int, size: int, nodes: Sequence[int] | None
) -> None:
    found = simulated(size, lambda: trained(MODELS[name], zero), nodes=nodes, schedule=zero)
    assert found == [expected(name)] * size


def input_penalty(ddp: Any, model: nn.Module, x: Any, y: Any) -> None:
    at = dg.Tensor(x, requires_grad=True)
    out = model(at)
    (slope,) = dg.autograd.grad((out**2).sum(), [at], create_graph=True)
    ddp.backward(F.cross_entropy(out, y) + (slope**2).sum())


def gradient_penalty(ddp: Any, model: nn.Module, x: Any, y: Any) -> None:
    out = model(x)
    slopes = dg.autograd.grad((out**2).sum(), list(model.parameters()), create_graph=True)
    ddp.backward(F.cross_entropy(out, y) + 0.01 * sum((g**2).sum() for g in slopes))


TWICE = {
    "layers": lambda: nn.Sequential(nn.Linear(WIDTH, 6), nn.Tanh(), nn.Linear(6, 3)),
    **{name: MODELS[name] for name in ("tied weights", "a weight detached by the parent")},
    **{name: MODELS[name] for name in ("a returned part", "a module run three times")},
    # Ops that are run again for gradients of gradients, from the first layer on.
    "normalized": lambda: nn.Sequential(
        nn.Linear(WIDTH, 6), nn.LayerNorm(6), nn.Linear(6, 6), nn.GroupNorm(2, 6), nn.Linear(6, 3)
    ),
    "a transformer": MODELS["a transformer"],
}


@cache
def expected_of(name: str, backward: Backward) -> str:
    return simulated(1, lambda: trained(TWICE[name], 0, backward))[0]


@pytest.mark.parametrize(("zero", "size", "nodes"), WORLDS)
@pytest.mark.parametrize("backward", [input_penalty, gradient_penalty])
@pytest.mark.parametrize("name", TWICE)
def test_gradients_of_gradients_have_the_bits_of_zero_0_with(
    name: str, backward: Backward, zero: int, size: int, nodes: Sequence[int] | None
) -> None:
    found = simulated(size, lambda: trained(TWICE[name], zero, backward), nodes=nodes)
    assert found == [expected_of(name, backward)] * size


def test_in_backward_a_layer_has_its_weights_and_those_of_the_others_are_away() -> None:
    def body() -> list[list[int]]:
        dg.init(shards=4)
        model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(4)))
        ddp = dg.DistributedDataParallel(model, zero=3, bucket_mb=TINY)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        here: list[list[int]] = []

        def look(g: Any) -> None:
            here.append([k for k in range(4) if np.isfinite(held(model[k].weight)).all()])

        for step in range(2):
            for rows in dg.own_shards(ddp.world, step, 4):
                h: Any = samples().__getitems__(np.arange(rows.start, rows.stop))[0]
                for layer in model:
                    h = layer(h)
                    h.register_hook(look)
                ddp.backward((h**2).mean())
            optimizer.step()
            optimizer.zero_grad()
        return here

    for here in simulated(4, body, nodes=[1] * 4):
        # When a layer's gradient arrives: nothing, and what the rank owns, and the layer behind it.
        assert all(len(layers) <= 3 for layers in here), here
        assert any(len(layers) < 3 for layers in here)


def read_before(ddp: Any, model: Any, x: Any, y: Any) -> None:
    np.asarray(model.inner.w.array)
    plain(ddp, model, x, y)


def read_between(ddp: Any, model: Any, x: Any, y: Any) -> None:
    loss = F.cross_entropy(model(x), y)
    ddp.backward(loss + 0 * float(model.inner.w.array.sum()))


def read_after(ddp: Any, model: Any, x: Any, y: Any) -> None:
    plain(ddp, model, x, y)
    np.asarray(model.inner.w.array)


@pytest.mark.parametrize(("zero", "size", "nodes"), WORLDS)
@pytest.mark.parametrize("backward", [read_before, read_between, read_after])
def test_a_weight_may_be_read_in_every_shard(
    backward: Backward, zero: int, size: int, nodes: Sequence[int] | None
) -> None:
    make = MODELS["a module run three times"]
    one = simulated(1, lambda: trained(make, 0, backward))
    assert simulated(size, lambda: trained(make, zero, backward), nodes=nodes) == one * size
