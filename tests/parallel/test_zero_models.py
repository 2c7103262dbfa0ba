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
from zero_models import MODELS, WIDTH

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.parallel.zero_memory import Pages

WORLDS: list[tuple[int, int, Sequence[int] | None]] = [
    *((zero, 3, nodes) for zero in (1, 2, 3) for nodes in (None, [1, 1, 1])),  # uneven shards
    (3, 2, [1, 1]),  # two shards each
    (3, 4, [2, 1, 1]),  # one each
]
TINY = 1e-4  # MiB: a bucket for nearly every parameter


@pytest.fixture(autouse=True)
def given_back_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(self: Pages, *wanted: slice) -> None:
        gone = np.ones(self.array.size, bool)
        for part in wanted:
            gone[part] = False
        self.array[gone] = np.nan

    monkeypatch.setattr(Pages, "keep", keep)


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
