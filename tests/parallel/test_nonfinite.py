"""Losses and gradients that are not finite: every rank does the same about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.nn import functional as F

POISONED = 2  # the step, and the shard of it


def network() -> nn.Module:
    dg.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))


def cross_entropy(output: Any, y: Any, poisoned: bool) -> Any:
    return F.cross_entropy(output * float("nan") if poisoned else output, y)


def loss_alone(output: Any, y: Any, poisoned: bool) -> Any:
    """Poison the loss in a way that no gradient sees."""
    return F.cross_entropy(output, y) + (float("nan") if poisoned else 0.0)


def gradient_alone(output: Any, y: Any, poisoned: bool) -> Any:
    """Poison the gradient in a way that the loss does not show: the slope of sqrt at 0."""
    extra = np.sum(np.sqrt(np.square(output * 0))) if poisoned else 0.0
    return F.cross_entropy(output, y) + extra


POISONS = [cross_entropy, loss_alone, gradient_alone]


def train(poison: Callable[..., Any], policy: str, steps: int = 4) -> tuple[str, list[bool], Any]:
    """Train the bare loop with one poisoned shard; return the weights' digest and what was said."""
    world = dg.init(shards=4)
    model = network()
    ddp = dg.DistributedDataParallel(model, nonfinite=policy)  # type: ignore[arg-type]
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    i = np.arange(12)
    x, y = np.sin(np.outer(i + 1, np.arange(1, 5))).astype(np.float32), (i * i) % 3
    left_out = []
    with np.errstate(all="ignore"):
        for step in range(steps):
            optimizer.zero_grad()
            for rows in dg.own_shards(world, step, 12):
                part = slice(rows.start, rows.stop)
                poisoned = step == POISONED and rows.start == 3 * POISONED
                ddp.backward(poison(model(x[part]), y[part], poisoned))
            dg.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            left_out.append(ddp.left_out)
    return nn.state_sha256(model.state_dict()), left_out, model.state_dict()


@pytest.mark.parametrize("poison", POISONS)
def test_skip_leaves_the_batch_out_on_all_ranks(poison: Callable[..., Any]) -> None:
    found = [r for size in (1, 3, 4) for r in simulated(size, lambda: train(poison, "skip"))]
    assert len({digest for digest, _, _ in found}) == 1
    for _, left_out, state in found:
        assert left_out == [step == POISONED for step in range(4)]
        assert all(np.isfinite(a).all() for a in state.values())


def test_a_batch_left_out_moves_nothing() -> None:
    [before] = run_ranks(1, lambda: train(cross_entropy, "skip", POISONED)[2])
    [after] = run_ranks(1, lambda: train(cross_entropy, "skip", POISONED + 1)[2])
    for name, a in after.items():
        if "running" not in name and "tracked" not in name:  # the forward pass was finite
            np.testing.assert_array_equal(a, before[name])


def test_gradients_kept_from_earlier_batches_survive_one_that_is_left_out() -> None:
    def body() -> list[Any]:
        dg.init(shards=4)
        model = network()
        ddp = dg.DistributedDataParallel(model, nonfinite="skip")
        x = np.ones((8, 4), np.float32) * np.arange(8, dtype=np.float32)[:, None]
        kept = []
        for step, bad in enumerate([False, True]):
            for rows in dg.own_shards(dg.current_world(), step, 8):
                part = slice(rows.start, rows.stop)
                loss = cross_entropy(model(x[part]), np.arange(8)[part] % 3, bad and rows.start)
                ddp.backward(loss)
            kept.append([p.grad.array.copy() for p in model.parameters()])
        return kept

    for first, second in simulated(3, body):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


def test_raise_stops_all_ranks_at_a_gradient_and_names_its_parameters() -> None:
    def body() -> str:
        with pytest.raises(dg.NonFiniteError) as caught:
            train(gradient_alone, "raise")
        return str(caught.value)

    for rank, said in enumerate(simulated(3, body)):
        assert said.startswith(f"[rank {rank}/3] the gradients of '0.weight', '0.bias', '1.weight'")
        assert "and 3 more are NaN or infinite at step 2, of losses that are finite" in said
        assert "nonfinite='skip' leaves such batches out" in said


@pytest.mark.parametrize("poison", [cross_entropy, loss_alone])
def test_raise_at_a_loss_of_one_rank_leaves_no_other_waiting(poison: Callable[..., Any]) -> None:
    # 4 shards on 3 ranks: rank 2 has shards 2 and 3.
    with pytest.raises(dg.NonFiniteError, match=r"\[rank 2/3\] the loss is nan at step 2, shard 2"):
        simulated(3, lambda: train(poison, "raise"))


def test_continue_goes_on_with_nan() -> None:
    for _, left_out, state in simulated(3, lambda: train(cross_entropy, "continue")):
        assert not any(left_out)
        assert np.isnan(state["0.weight"]).all()


def test_a_norm_that_overflows_is_not_finite() -> None:
    def body() -> None:
        model = nn.Linear(2, 2).to(np.float64)
        ddp = dg.DistributedDataParallel(model)
        ddp.backward(np.sum(model(np.ones((3, 2)))) * 1e200)

    with pytest.raises(dg.NonFiniteError, match="the gradients have a norm that overflows, of"):
        run_ranks(1, body)


def test_an_unknown_policy() -> None:
    with pytest.raises(dg.DistgradError, match=r"nonfinite is 'raise', .*; got 'ignore'"):
        run_ranks(1, lambda: dg.DistributedDataParallel(network(), nonfinite="ignore"))  # type: ignore[arg-type]
