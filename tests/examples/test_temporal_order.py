"""The example of clipping in its short form; that it ends as it should is a command's business."""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import temporal_order
from training import alone, simulated

import distgrad as dg
from distgrad import optim


@pytest.fixture
def args(monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """The settings of a run of seconds."""
    short = "--length 20 --hidden 8 --steps 6 --global-batch-size 12 --evaluate-every 3 --test 40"
    monkeypatch.setattr(sys, "argv", ["temporal_order.py", *short.split()])
    return temporal_order.arguments()


def train(args: argparse.Namespace, clip_norm: float | None) -> temporal_order.Run:
    dg.init(shards=2)
    return temporal_order.train(args, clip_norm)


# -- the sequences ------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [20, 60, 97])
def test_a_sequence_has_two_symbols_in_their_places_and_distractors_elsewhere(length: int) -> None:
    x, y = temporal_order.temporal_order(3000, length, 3).arrays
    assert x.shape == (3000, length)
    assert set(np.unique(x)) == set(range(6))
    first, second = (x < 2).nonzero()[1].reshape(-1, 2).T  # exactly two in every row
    places = range(length // 10, 2 * length // 10 + 1)
    assert set(first) == set(places)
    assert set(second) == set(range(4 * length // 10, 5 * length // 10 + 1))
    rows = np.arange(3000)
    np.testing.assert_array_equal(y, 2 * x[rows, first] + x[rows, second])


def test_classes_and_distractors_are_balanced() -> None:
    x, y = temporal_order.temporal_order(10000, 60, 0).arrays
    np.testing.assert_allclose(np.bincount(y) / 10000, 0.25, atol=0.02)
    np.testing.assert_allclose(np.bincount(x[x >= 2])[2:] / (10000 * 58), 0.25, atol=0.005)


def test_the_sequences_are_those_of_their_key() -> None:
    one, again, other = (temporal_order.temporal_order(50, 20, 7, k).arrays[0] for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any(axis=1).all()  # nothing to train on is tested


# -- the runs -----------------------------------------------------------------------------------


def test_both_runs_are_the_same_until_the_first_gradient_is_clipped(
    args: argparse.Namespace,
) -> None:
    free = alone(lambda: train(args, None))
    threshold = (free.norms[0] + max(free.norms)) / 2
    before = next(i for i, norm in enumerate(free.norms) if norm > threshold)
    clipped = alone(lambda: train(args, threshold))
    assert clipped.first_bits == free.first_bits
    assert 0 < before < args.steps - 1
    assert clipped.losses[: before + 1] == free.losses[: before + 1]
    assert clipped.losses[before + 1] != free.losses[before + 1]
    assert clipped.norms[before] > threshold  # what is shown is the norm before clipping


def test_the_optimizer_sees_no_gradient_above_the_threshold(
    args: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    class Watched(optim.SGD):
        def step(self, *settings: Any) -> Any:
            parameters = [p for group in self.param_groups for p in group["params"]]
            seen.append(math.sqrt(sum(float(np.sum(p.grad.array**2)) for p in parameters)))
            return super().step(*settings)

    monkeypatch.setattr(optim, "SGD", Watched)
    run = alone(lambda: train(args, 0.05))
    assert min(run.norms) > 0.05
    np.testing.assert_allclose(seen, 0.05, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 2])
def test_any_number_of_ranks_notes_the_same_numbers(args: argparse.Namespace, size: int) -> None:
    runs = simulated(size, lambda: train(args, 0.1))
    assert all(run == alone(lambda: train(args, 0.1)) for run in runs)
    assert runs[0].evaluated == [3, 6]
    assert len(runs[0].norms) == len(runs[0].losses) == args.steps


def test_a_run_that_diverges_is_a_result(args: argparse.Namespace) -> None:
    args.lr = 1e38

    def body() -> temporal_order.Run:
        with np.errstate(all="ignore"):
            return train(args, None)

    run = alone(body)
    assert run.outcome == f"diverged at step {len(run.norms)}"
    assert len(run.norms) < args.steps
    assert not run.solved


# -- what is left -------------------------------------------------------------------------------


def test_the_example_prints_a_table_and_draws_both_runs(
    args: argparse.Namespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.png"
    runs = tmp_path / "runs"
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--plot", str(path), "--run", str(runs)])
    monkeypatch.setattr("distgrad.observe.run.run.can_draw", lambda: False)  # it takes seconds
    before = "matplotlib.pyplot" in sys.modules
    alone(temporal_order.main)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert ("matplotlib.pyplot" in sys.modules) == before  # and so no global state
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[3:5]] == ["no clipping", "clipped at 1"]
    assert all(line.endswith("failed") for line in lines[3:5])  # six steps
    kept = [dg.observe.read_run(runs / name) for name in ("no-clipping", "clipped-at-1")]
    assert [run.series("validation/accuracy")[0].tolist() for run in kept] == [[3, 6]] * 2


def test_without_matplotlib_the_plot_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["temporal_order.py", "--plot", "a.png"])
    with pytest.raises(SystemExit):
        temporal_order.arguments()
    assert "--plot needs matplotlib: pip install" in capsys.readouterr().err
