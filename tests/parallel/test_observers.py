"""Observers of gradients: what they are shown, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import nn
from distgrad.comm import run_ranks
from distgrad.parallel.observers import watch


class Notes:
    """Writes down copies of all it is shown."""

    def __init__(self) -> None:
        self.shards: dict[tuple[int, str], Any] = {}
        self.batches: list[dict[str, Any]] = []

    def shard_ready(
        self, names: Any, gradients: Any, shard: int, weight: float, loss_nonfinite: bool
    ) -> None:
        for name, g in zip(names, gradients, strict=True):
            self.shards[shard, name] = (g.copy(), weight)
        assert not loss_nonfinite

    def batch_ready(self, gradients: Any, finite: bool | None, world: Any) -> None:
        self.batches.append({n: None if g is None else g.copy() for n, g in gradients.items()})
        self.finite, self.world = finite, world


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(2, 3)
        self.unused = nn.Linear(2, 3)

    def forward(self, x: Any) -> Any:
        return self.used(x)


def inputs(rows: range) -> Any:
    return np.sin(np.arange(1.0, 21.0)).reshape(10, 2)[rows.start : rows.stop].astype(np.float32)


def observed(early: bool) -> tuple[Notes, list[Any], bool]:
    world = dg.init(shards=4)
    dg.manual_seed(1)
    model, notes = Two(), Notes()
    if early:
        watch(model, notes)
    ddp = dg.DistributedDataParallel(model)
    if not early:
        watch(model, notes)
    for rows in dg.own_shards(world, 0, 10):
        ddp.backward(np.mean(np.square(model(inputs(rows)))))
    grads = [None if p.grad is None else p.grad.array for p in model.parameters()]
    return notes, grads, notes.world is world


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("size", [1, 3])
def test_each_shard_is_seen_once_on_its_rank_and_the_batch_everywhere(
    size: int, early: bool
) -> None:
    found = simulated(size, lambda: observed(early))
    seen = [shard for notes, _, _ in found for shard, name in notes.shards if name == "used.bias"]
    assert sorted(seen) == [0, 1, 2, 3]
    for notes, grads, its_world in found:
        assert its_world
        assert len(notes.batches) == 1
        assert notes.finite is True
        batch = notes.batches[0]
        assert list(batch) == ["unused.bias", "unused.weight", "used.bias", "used.weight"]
        np.testing.assert_array_equal(batch["used.weight"], grads[0])
        assert batch["unused.weight"] is None
    parts = {k: v for notes, _, _ in found for k, v in notes.shards.items()}
    total = sum(parts[s, "used.weight"][0] for s in range(4))
    np.testing.assert_allclose(total, found[0][1][0], rtol=1e-5)
    assert [parts[s, "used.bias"][1] for s in range(4)] == [0.3, 0.3, 0.2, 0.2]


def test_looking_does_not_change_the_bits() -> None:
    def plain() -> Any:
        world = dg.init(shards=4)
        dg.manual_seed(1)
        model = Two()
        ddp = dg.DistributedDataParallel(model)
        for rows in dg.own_shards(world, 0, 10):
            ddp.backward(np.mean(np.square(model(inputs(rows)))))
        return model.used.weight.grad.array.tobytes()  # type: ignore[union-attr]

    expected = simulated(2, plain)
    assert [g[1][0].tobytes() for g in simulated(2, lambda: observed(True))] == expected


def test_a_model_that_is_not_distributed_shows_every_backward_pass() -> None:
    model, notes = Two(), Notes()
    watch(model, notes)
    for _ in range(2):
        np.sum(model(inputs(range(3)))).backward()
    first, second = notes.batches
    np.testing.assert_allclose(second["used.weight"], 2 * first["used.weight"], rtol=1e-6)
    assert first["unused.bias"] is None
    assert not notes.shards
    assert notes.world is None


def test_several_may_look() -> None:
    model, one, two = Two(), Notes(), Notes()
    watch(model, one)
    watch(model, two)
    np.sum(model(inputs(range(3)))).backward()
    assert len(one.batches) == len(two.batches) == 1


def test_a_model_without_trained_parameters_has_nothing_to_show() -> None:
    with pytest.raises(dg.GradError, match="no parameters that require gradients: nothing to ob"):
        watch(nn.ReLU(), Notes())


def test_a_watched_model_is_distributed_once_only() -> None:
    def body() -> None:
        model = Two()
        watch(model, Notes())
        dg.DistributedDataParallel(model)
        dg.DistributedDataParallel(model)

    with pytest.raises(dg.CommError, match="belongs to a DistributedDataParallel already"):
        run_ranks(1, body)
