"""ReduceLROnPlateau as a Trainer's schedule follows the evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.errors import DistgradError

LOSSES = [5.0, 6.0, 4.0, 7.0, 8.0, 3.0]
HALVED = [1.0, 0.5, 0.5, 0.25, 0.125, 0.125]
"""The rate after each evaluation: half of it after each that is not the best so far."""


class Scripted(dg.Trainer):
    """Evaluates as it is told to, its accuracy is the loss the other way round."""

    def evaluate(self, loader: Any) -> dict[str, float]:
        loss = LOSSES[self.state.step // 2 - 1]
        return {"loss": loss, "accuracy": -loss}


def trainer(mode: Any = "min", **settings: Any) -> Scripted:
    dg.init(shards=4)
    model = nn.Linear(3, 1)
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    plateau = optim.ReduceLROnPlateau(optimizer, mode, factor=0.5, patience=0)
    return Scripted(
        model, optimizer, lambda y, _: y.mean(), schedule=plateau, progress=False, **settings
    )


def rates(made: Scripted, steps: int, **settings: Any) -> list[float]:
    """The rate at the end of every second step, which has an evaluation."""
    found: list[float] = []

    def note(state: dg.TrainState) -> None:
        if state.step % 2 == 0:
            found.append(made.optimizer.param_groups[0]["lr"])

    made.callbacks.append(note)
    data = dg.data.ArrayDataset(np.ones((4, 3), np.float32), np.zeros(4))
    train, held_out = dg.data.DataLoader(data, 4), dg.data.DataLoader(data, 4)
    made.fit(train, max_steps=steps, evaluate=held_out, evaluate_every=2, **settings)
    return found


@pytest.mark.parametrize("settings", [{}, {"best": "accuracy", "best_mode": "max", "mode": "max"}])
def test_it_steps_after_each_evaluation_by_the_loss_or_what_is_best(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    def body() -> list[float]:
        folder = str(tmp_path) if settings else None
        return rates(trainer(**settings, checkpoint=folder), 12)

    assert run_ranks(3, body) == [HALVED] * 3


def test_a_resumed_run_goes_on_with_it(tmp_path: Path) -> None:
    def body(steps: int, resume: bool) -> list[float]:
        return rates(trainer(checkpoint=str(tmp_path)), steps, resume=resume)

    assert run_ranks(2, lambda: body(6, False)) == [HALVED[:3]] * 2
    assert run_ranks(3, lambda: body(12, True)) == [HALVED[3:]] * 3


def test_it_is_told_that_there_are_no_evaluations_to_follow() -> None:
    def body() -> None:
        data = dg.data.ArrayDataset(np.ones((4, 3), np.float32), np.zeros(4))
        trainer().fit(dg.data.DataLoader(data, 4), max_steps=1)

    with pytest.raises(DistgradError, match=r"ReduceLROnPlateau.* looks at evaluations.* pass ev"):
        run_ranks(1, body)


@pytest.mark.parametrize(
    "settings", [{"mode": "max"}, {"best": "accuracy", "best_mode": "max", "checkpoint": "c"}]
)
def test_a_mode_that_calls_good_what_is_bad_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(DistgradError, match="say ReduceLROnPlateau"):
        run_ranks(1, lambda: trainer(**settings))
