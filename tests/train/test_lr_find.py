"""The learning-rate range test: it finds a rate, on any number of ranks, and leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.errors import DistgradError
from distgrad.nn import functional as F
from distgrad.train import LRFind


def made(zero: int = 0, **settings: Any) -> tuple[dg.Trainer, dg.data.DataLoader]:
    dg.init(shards=4)
    dg.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1))
    model.append(nn.Linear(16, 3))
    groups = [
        {"params": [*model[:4].parameters()]},
        {"params": [*model[4].parameters()], "lr": 3e-3},
    ]
    optimizer = optim.AdamW(groups, lr=1e-3)
    schedule = optim.WarmupCosineLR(optimizer, 3, 30)
    settings = {"progress": False, "clip_norm": optim.AutoClip(30)} | settings
    trainer = dg.Trainer(
        *(model, optimizer, F.cross_entropy), schedule=schedule, zero=zero, **settings
    )
    i = np.arange(40)
    x = np.sin(np.outer(i + 1, np.arange(1, 7))).astype(np.float32)
    return trainer, dg.data.DataLoader(dg.data.ArrayDataset(x, (i * i) % 3), 12, shuffle=True)


def trained(zero: int, tried: bool) -> Any:
    trainer, loader = made(zero)
    if tried:
        trainer.lr_find(loader, num_training=9, max_lr=0.1)
    trainer.fit(loader, max_steps=7)
    arrays = trainer.model.state_arrays()
    return trainer.state.step, trainer.state.loss, {n: a.tobytes() for n, a in arrays.items()}


@pytest.mark.parametrize("zero", [0, 1, 3])
def test_it_leaves_no_trace_in_the_training_that_follows(zero: int) -> None:
    alone = run_ranks(1, lambda: trained(0, False))[0]
    assert run_ranks(3, lambda: trained(zero, True)) == [alone] * 3


def test_it_sees_the_same_on_any_number_of_ranks_and_ends_where_the_loss_explodes() -> None:
    def body() -> tuple[list[float], list[float], float]:
        trainer, loader = made(clip_norm=None)
        found = trainer.lr_find(loader, min_lr=1e-5, max_lr=1e6, num_training=60)
        return [*found.lr], [*found.loss], found.suggestion()

    alone = run_ranks(1, body)[0]
    assert run_ranks(3, body) == [alone] * 3
    rates, losses, suggestion = alone
    assert len(rates) == len(losses) < 60
    assert losses[-1] > 4 * min(losses)
    assert np.allclose(np.diff(np.log(rates)), np.log(1e11) / 59)
    assert 1e-5 < suggestion < rates[-1]


def test_a_loss_that_is_not_finite_ends_it() -> None:
    def body() -> int:
        trainer, loader = made()
        ordinary, count = trainer.loss_fn, 0

        def loss_fn(output: Any, target: Any) -> Any:
            nonlocal count
            count += 1
            return ordinary(output, target) * (float("nan") if count > 4 * 5 else 1.0)

        trainer.loss_fn = loss_fn
        return len(trainer.lr_find(loader, num_training=50).loss)

    assert run_ranks(1, body) == [5]


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    rates = [10.0**k for k in range(20)]
    losses = [9.0] * 12 + [8.5, 6.0, 3.5, 3.4, 3.3, 3.3, 5.0, 50.0]
    assert LRFind(rates, losses).suggestion() == rates[13]
    with pytest.raises(DistgradError, match=r"falls at no rate from 1 to 1e\+19"):
        LRFind(rates, [float(k) for k in range(20)]).suggestion()
    with pytest.raises(DistgradError, match="of 3 steps"):
        LRFind(rates[:3], [3.0, 2.0, 1.0]).suggestion()


@pytest.mark.parametrize(
    "limits", [{"min_lr": 0.0}, {"max_lr": 1e-9}, {"num_training": 1}, {"early_stop_threshold": 1}]
)
def test_limits_that_are_none_are_refused(limits: dict[str, Any]) -> None:
    def body() -> None:
        trainer, loader = made()
        trainer.lr_find(loader, **limits)

    with pytest.raises(
        DistgradError, match=r"lr_find: (\w+ is a .*; got|min_lr=1e-08 must be below)"
    ):
        run_ranks(1, body)


def test_it_draws_what_it_saw(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    for losses in ([9.0] * 12 + [8.5, 6.0, 3.5, 3.4], [1.0] * 16):
        LRFind([10.0**k for k in range(16)], losses).plot(str(tmp_path / "lr.png"))
        assert (tmp_path / "lr.png").stat().st_size > 1000
