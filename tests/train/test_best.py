"""The best checkpoint: which one stays, on how many ranks it was, and whose weights come back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.errors import DistgradError

LOSSES = [5.0, 3.0, 4.0, 2.0, 2.5, 6.0]


class Scripted(dg.Trainer):
    """Evaluates as it is told to; its model counts the steps."""

    def evaluate(self, loader: Any) -> dict[str, float]:
        return {"loss": LOSSES[self.state.step - 1], "accuracy": -LOSSES[self.state.step - 1]}


def trainer(folder: Path | None, **settings: Any) -> Scripted:
    dg.init(shards=4)
    model = nn.Linear(3, 1, bias=False)
    model.weight.data = np.zeros((1, 3), np.float32)
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    checkpoint = None if folder is None else str(folder)
    return Scripted(
        *(model, optimizer, lambda y, _: -y.mean()),
        **({"checkpoint": checkpoint, "progress": False} | settings),
    )


def fit(made: Scripted, steps: int, **settings: Any) -> None:
    data = dg.data.ArrayDataset(np.ones((4, 3), np.float32), np.zeros(4, np.int64))
    loader, other = dg.data.DataLoader(data, 4), dg.data.DataLoader(data, 4)
    made.fit(loader, max_steps=steps, evaluate=other, **settings)


@pytest.mark.parametrize("settings", [{"best": "loss"}, {"best": "accuracy", "best_mode": "max"}])
@pytest.mark.parametrize("zero", [0, 3])
def test_the_weights_of_the_best_evaluation_come_back(
    settings: dict[str, Any], zero: int, tmp_path: Path
) -> None:
    def body() -> tuple[str, list[float], list[float]]:
        made = trainer(tmp_path, zero=zero, **settings)
        fit(made, 6)
        assert made.best is not None
        assert (made.best.value, made.best.step) == ({"loss": 2.0}.get(made.best.name, -2.0), 4)
        last = made.model.state_arrays()["weight"][0].tolist()
        name = made.load_best()
        return name, last, made.model.state_arrays()["weight"][0].tolist()

    assert run_ranks(3, body) == [("step-000004", [6.0] * 3, [4.0] * 3)] * 3
    assert [p.name for p in (tmp_path / "best").iterdir()] == ["step-000004"]


def test_a_resumed_run_knows_the_best_one(tmp_path: Path) -> None:
    def body(steps: int, resume: bool) -> tuple[int, str]:
        made = trainer(tmp_path, best="loss")
        fit(made, steps, resume=resume)
        assert made.best is not None
        return made.best.step, made.load_best()

    assert run_ranks(2, lambda: body(3, False)) == [(2, "step-000002")] * 2
    assert run_ranks(3, lambda: body(3, True)) == [(2, "step-000002")] * 3
    assert run_ranks(1, lambda: body(6, True)) == [(4, "step-000004")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"best": "accuracy"}, "is a large 'accuracy' good or bad"),
        ({"best": "loss", "checkpoint": None}, "needs the folder"),
        (
            {"best": "loss", "best_mode": "least"},
            "best_mode is 'min' or 'max' or None; got 'least'",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DistgradError, match=message):
        run_ranks(1, lambda: trainer(tmp_path, **settings))


def test_without_an_evaluation_there_is_no_best_one(tmp_path: Path) -> None:
    def body() -> None:
        made = trainer(tmp_path, best="loss")
        with pytest.raises(DistgradError, match="pass evaluate=loader"):
            made.fit(dg.data.DataLoader([(np.ones(3), 0)] * 4, 4), max_steps=1)
        with pytest.raises(DistgradError, match="load_best: there is no checkpoint"):
            made.load_best()

    run_ranks(2, body)


def test_the_table_at_the_end_has_the_best_of_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def best(losses: list[float], **settings: Any) -> list[str]:
        monkeypatch.setattr(f"{__name__}.LOSSES", losses)
        run_ranks(1, lambda: fit(trainer(None, progress=True, **settings), len(losses)))
        return [line for line in capsys.readouterr().err.splitlines() if line.startswith("best: ")]

    assert best([math.nan, 3.0, 4.0]) == ["best: loss 3, accuracy -3 at step 2"]
    assert best([3.0, 2.0]) == []  # the last one is it
    worst = {"best": "accuracy", "best_mode": "min", "checkpoint": str(tmp_path)}
    assert best([3.0, 5.0, 4.0], **worst) == ["best: loss 5, accuracy -5 at step 2"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"best": "loss"}, "best: loss 2 at step 2"),
        ({}, "best: loss 4, accuracy -4 at step 4 (since step 3)"),
    ],
)
def test_after_a_resume_the_table_says_no_later_one_is_the_best_of_all(
    settings: dict[str, Any], said: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(f"{__name__}.LOSSES", [5.0, 2.0, 3.0, 4.0, 5.0])
    run_ranks(1, lambda: fit(trainer(tmp_path, **settings), 3))
    made = {"progress": True, **settings}
    run_ranks(1, lambda: fit(trainer(tmp_path, **made), 5, resume=True))
    assert [li for li in capsys.readouterr().err.splitlines() if li.startswith("best: ")] == [said]
