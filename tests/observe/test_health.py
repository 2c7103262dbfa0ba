"""GradientHealth: the layer, step and rank of what goes wrong, and silence where nothing does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from training import build, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.nn import functional as F


def samples(n: int = 48) -> tuple[Any, Any]:
    i = np.arange(n)
    return np.sin(np.outer(i + 1, np.arange(1, 7))).astype(np.float32), (i * i) % 3


def deep(activation: type[nn.Module], depth: int = 8) -> nn.Module:
    dg.manual_seed(1)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(6 if i == 0 else 16, 16), activation()]
    return nn.Sequential(*layers, nn.Linear(16, 3))


def train(
    model: nn.Module, steps: int, health: dg.GradientHealth, lr: float = 0.1, spike: int = -1
) -> dg.GradientHealth:
    """Train in one process without DistributedDataParallel; step ``spike`` has a loss × 1e5."""
    x, y = samples()
    optimizer = optim.SGD(model.parameters(), lr=lr)
    for step in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        (loss * 1e5 if step == spike else loss).backward()
        dg.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        health.observe()
    return health


def watched(model: nn.Module, steps: int, every: int = 1, **settings: Any) -> dg.GradientHealth:
    keys = ("lr", "spike")
    how = {k: settings.pop(k) for k in keys if k in settings}
    return train(model, steps, dg.GradientHealth(model, every=every, **settings), **how)


def found(health: dg.GradientHealth) -> list[tuple[str, str, int]]:
    return [(p.kind, p.layer, p.step) for p in health.problems]


# -- numbers -------------------------------------------------------------------------------------


def test_the_norms_are_those_of_each_layers_parameters_before_clipping() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).to(np.float64)
    health = dg.GradientHealth(model, every=1)
    x, y = samples()
    (F.cross_entropy(model(x.astype(np.float64)), y) * 50).backward()
    first = model[0]
    assert isinstance(first, nn.Linear)

    def norm(*arrays: Any) -> float:
        return float(np.linalg.norm(np.concatenate([a.reshape(-1) for a in arrays])))

    gradient = norm(first.weight.grad.array, first.bias.grad.array)  # type: ignore[union-attr]
    weight = norm(first.weight.array, first.bias.array)
    dg.clip_grad_norm_(model.parameters(), 1.0)
    grad = [p.grad.array.copy() for p in first.parameters()]  # type: ignore[union-attr]
    optim.SGD(model.parameters(), lr=0.25).step()
    health.observe()
    assert health.layers == ["0", "2"]
    assert health.gradient_norms[0, 0] == pytest.approx(gradient, rel=1e-12)
    assert health.weight_norms[0, 0] == pytest.approx(weight, rel=1e-12)
    assert health.update_norms[0, 0] == pytest.approx(0.25 * norm(*grad), rel=1e-9)


def test_only_every_so_many_steps_are_measured_and_the_newest_are_kept() -> None:
    health = watched(deep(nn.Tanh, 2), 20, every=3, history=4)
    assert health.steps == [9, 12, 15, 18]
    for matrix in (health.gradient_norms, health.weight_norms, health.update_norms):
        assert matrix.shape == (3, 4)
        assert (matrix > 0).all()


def test_a_layer_nobody_used_has_no_norm_and_no_problem() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    health = watched(Partly(), 5)
    assert np.isnan(health.gradient_norms[1]).all()
    assert health.problems == []


def test_watching_changes_nothing() -> None:
    with_health, without = deep(nn.Tanh), deep(nn.Tanh)
    watched(with_health, 5)
    other = dg.GradientHealth(nn.Linear(1, 1))  # of another model
    train(without, 5, other)
    assert other.steps == []
    a, b = (nn.state_sha256(m.state_dict()) for m in (with_health, without))
    assert a == b


def test_nothing_observed_is_said() -> None:
    assert "nothing observed; call observe()" in dg.GradientHealth(nn.Linear(1, 1)).report()


# -- problems of layers ---------------------------------------------------------------------------


def test_vanishing_gradients_of_a_deep_sigmoid_network_are_named() -> None:
    health = watched(deep(nn.Sigmoid), 6)
    assert found(health)[:2] == [("vanishing", "0", 0), ("vanishing", "2", 0)]
    assert all(int(p.layer) < 8 for p in health.problems)  # the layers far from the loss alone
    assert max(map(len, health.report().split("usually helps")[1].splitlines())) <= 88
    report = " ".join(health.report().split())
    assert "vanishing: '0' at step 0: gradient norm" in report
    assert "6 observed steps so far, the last 5" in report
    assert health.problems[0].advice in report
    assert "initialise for the activation" in report
    assert "Glorot & Bengio 2010" in report


def test_an_embedding_of_which_a_batch_uses_few_rows_does_not_vanish() -> None:
    dg.manual_seed(1)
    table = nn.Embedding(5000, 8)
    model = nn.Sequential(table, nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, 3))
    health = dg.GradientHealth(model, every=1, patience=1)
    F.cross_entropy(model(np.arange(3)), np.arange(3)).backward()
    health.observe()
    ratio = health.gradient_norms / health.weight_norms
    assert ratio[0, 0] < 0.01 * np.median(ratio)
    assert health.problems == []


def test_a_layer_must_vanish_several_observed_steps_in_a_row() -> None:
    model = deep(nn.Sigmoid)
    assert found(watched(model, 2)) == []
    assert found(watched(deep(nn.Sigmoid), 2, patience=2))[0] == ("vanishing", "0", 0)


def test_exploding_gradients_of_a_recurrent_network_are_named_at_the_first_step() -> None:
    dg.manual_seed(1)

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.RNN(2, 12, nonlinearity="relu", batch_first=True)
            self.head = nn.Linear(12, 3)

        def forward(self, x: Any) -> Any:
            states, _ = self.body(np.tile(x, (1, 8)).reshape(-1, 24, 2))
            return self.head(states[:, -1])

    model = Recurrent()
    dict(model.named_parameters())["body.weight_hh_l0"].array[...] = 2 * np.eye(12)
    health = watched(model, 1)
    assert found(health) == [("exploding", "body", 0), ("exploding", "head", 0)]
    assert "times the norm of all weights together" in health.report()
    assert "clip gradients" in health.report()


def test_a_spike_is_named_by_its_step_against_the_layers_past() -> None:
    health = watched(deep(nn.Tanh, 3), 12, spike=8)
    assert {(kind, step) for kind, _, step in found(health)} == {("exploding", 8)}
    assert "times its median over 8 observed steps" in health.report()
    assert all(p.last == 8 and p.count == 1 for p in health.problems)


def test_dead_relus_are_named() -> None:
    model = deep(nn.ReLU, 3)
    dict(model.named_parameters())["2.bias"].array[...] = -100.0
    health = watched(model, 4)
    assert found(health) == [("dead", "0", 0), ("dead", "2", 0)]  # what feeds it is dead, too
    assert "dead: '2' at step 0: its gradient is exactly 0; 4 observed steps so far" in (
        health.report()
    )
    assert "LeakyReLU" in health.report()


@pytest.mark.parametrize("name", ["mlp", "cnn", "gpt"])
def test_healthy_models_have_no_problems(name: str) -> None:
    def body() -> list[dg.observe.Problem]:
        dg.init(shards=2)
        dg.manual_seed(3)
        model, data, loss_fn = build(name)
        health = dg.GradientHealth(model, every=1)
        optimizer = optim.AdamW(model.parameters(), lr=3e-3)
        trainer = dg.Trainer(model, optimizer, loss_fn, callbacks=[health], progress=False)
        trainer.fit(dg.data.DataLoader(data, 30, shuffle=True, seed=11), max_steps=15)
        assert health.steps == list(range(15))
        assert "No layer vanishes, explodes, is dead or not finite." in health.report()
        return health.problems

    assert run_ranks(1, body) == [[]]


# -- ranks ----------------------------------------------------------------------------------------


def poisoned(
    value: float, *, nonfinite: Any = "skip", every: int = 1, shards: int | None = None
) -> dg.GradientHealth:
    """Train on three shards' samples of which the last third is multiplied by ``value`` once."""
    world = dg.init(shards=shards)
    model = deep(nn.Tanh, 2)
    health = dg.GradientHealth(model, every=every)
    ddp = dg.DistributedDataParallel(model, nonfinite=nonfinite)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    x, y = samples()
    for step in range(10):
        optimizer.zero_grad()
        for rows in dg.own_shards(world, step, 48):
            part = slice(rows.start, rows.stop)
            loss = F.cross_entropy(model(x[part]), y[part])
            bad = step == 7 and rows.stop == 48
            with np.errstate(invalid="ignore"):
                ddp.backward(loss * value if bad else loss)
        optimizer.step()
        health.observe()
    return health


@pytest.mark.parametrize("every", [1, 5])
def test_a_nan_on_rank_2_of_3_is_named_with_its_rank_on_all_ranks(every: int) -> None:
    healths = simulated(3, lambda: poisoned(math.nan, every=every))
    assert len({h.report() for h in healths}) == 1
    health = healths[0]
    assert found(health) == [("nonfinite", layer, 7) for layer in ("0", "2", "4")]
    assert {(p.ranks, p.shards) for p in health.problems} == {((2,), (2,))}
    said = "nonfinite: '0' at step 7 on rank 2 (shard 2): its gradient is not finite"
    assert said in health.report()
    assert 7 in health.steps
    assert np.isinf(health.gradient_norms[:, health.steps.index(7)]).all()


def test_an_explosion_on_rank_2_of_3_is_named_with_its_rank() -> None:
    healths = simulated(3, lambda: poisoned(1e4))
    assert len({h.report() for h in healths}) == 1
    problems = healths[0].problems
    assert {(p.kind, p.step, p.ranks) for p in problems} == {("exploding", 7, (2,))}


def test_the_shard_is_the_same_on_any_number_of_ranks_and_the_rank_its_owner() -> None:
    def told(size: int) -> tuple[Any, Any]:
        health = simulated(size, lambda: poisoned(math.nan, shards=4))[size - 1]
        return health.gradient_norms.tobytes(), {(p.shards, p.ranks) for p in health.problems}

    (norms, one), (same_norms, three) = told(1), told(3)
    assert norms == same_norms
    assert one == {((3,), (0,))}
    assert three == {((3,), (2,))}


def test_a_gradient_that_raises_can_be_asked_about_afterwards() -> None:
    def body() -> str:
        dg.init()
        model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
        health = dg.GradientHealth(model, every=1)
        ddp = dg.DistributedDataParallel(model)
        x, y = samples()
        output = model(x)
        slope = np.sum(np.sqrt(np.square(output * 0))) if dg.current_world().rank == 1 else 0.0
        with np.errstate(all="ignore"), pytest.raises(dg.NonFiniteError):
            ddp.backward(F.cross_entropy(output, y) + slope)
        return health.report()

    for report in simulated(3, body):
        assert "nonfinite: '1' at step 0 on rank 1 (shard 1): its gradient is not" in report


def test_a_loss_that_alone_is_not_finite_is_named() -> None:
    def body() -> list[tuple[str, tuple[int, ...]]]:
        world = dg.init()
        model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
        health = dg.GradientHealth(model)
        ddp = dg.DistributedDataParallel(model, nonfinite="skip")
        x, y = samples()
        ddp.backward(F.cross_entropy(model(x), y) + (math.inf if world.rank == 1 else 0.0))
        health.observe()
        return [(str(p), p.ranks) for p in health.problems]

    said = (
        "nonfinite: 'the loss' at step 0 on rank 1 (shard 1): it is not finite, the gradients are"
    )
    assert simulated(3, body) == [[(said, (1,))]] * 3


def test_a_shards_own_gradient_is_that_of_its_mean_loss() -> None:
    def body() -> Any:
        world = dg.init(shards=4)
        model = nn.Sequential(nn.Linear(6, 3))
        health = dg.GradientHealth(model)
        ddp = dg.DistributedDataParallel(model)
        x, y = samples(5)  # shards of 2, 1, 1 and 1 samples
        for rows in dg.own_shards(world, 0, 5):
            part = slice(rows.start, rows.stop)
            ddp.backward(F.cross_entropy(model(x[part]), y[part]))
        health.observe()
        model.zero_grad()
        alone = []
        for part in (slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 5)):
            own = nn.Sequential(nn.Linear(6, 3))
            own.load_state_dict(model.state_dict())
            F.cross_entropy(own(x[part]), y[part]).backward()
            alone.append(
                optim.get_total_norm(p.grad for p in own.parameters() if p.grad is not None)
            )
        return health._measured[0].local[:, 0], alone

    for found, alone in simulated(3, body):
        np.testing.assert_allclose(found, alone, rtol=1e-5)


def test_steps_are_numbered_by_a_resumed_trainer() -> None:
    class State:
        step = 101

    model = deep(nn.Tanh, 2)
    health = dg.GradientHealth(model, every=2)
    x, y = samples()
    for _ in range(3):
        F.cross_entropy(model(x), y).backward()
        health(State())
        State.step += 1
    assert health.steps == [100, 102]


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "GradientHealth: every is a whole number above 0; got 0"),
        ({"history": 2}, "history=2 must be at least patience=3"),
        ({"vanishing": 2.0}, r"vanishing is a number in \(0, 1\); got 2.0"),
        ({"exploding": 0.5}, "exploding is a number above 1; got 0.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(dg.ShapeError, match=message):
        dg.GradientHealth(nn.Linear(1, 1), **settings)


def test_a_model_without_trained_parameters_is_refused() -> None:
    with pytest.raises(dg.GradError, match="no parameters that require gradients"):
        dg.GradientHealth(nn.ReLU())
