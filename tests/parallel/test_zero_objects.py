"""What may be done to a sharded model between its steps: the same as with zero=0, or an error."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from training import simulated
from zero_models import WIDTH, given_back_is_nan

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

given_back = pytest.fixture(autouse=True)(given_back_is_nan)
WORLDS = [(zero, nodes) for zero in (1, 2, 3) for nodes in (None, [1, 1, 1])]
everywhere = pytest.mark.parametrize(("zero", "nodes"), WORLDS)
Do = Callable[[Any, Any, Any], Any]
X = np.sin(np.arange(2.0 * WIDTH)).reshape(2, WIDTH).astype(np.float32)


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def train(model: Any, optimizer: Any, ddp: Any, steps: int, seed: int) -> None:
    i = np.arange(40)
    x = np.sin(np.outer(i + 1, np.arange(1, WIDTH + 1))).astype(np.float32)
    loader = dg.data.DataLoader(dg.data.ArrayDataset(x, (i * i) % 3), 12, shuffle=True, seed=seed)
    for _, batch in zip(range(steps), loader, strict=False):
        optimizer.zero_grad()
        for a, b in batch.shards:
            ddp.backward(F.cross_entropy(model(a), b))
        optimizer.step()


def run(zero: int, do: Do, size: int = 3, nodes: Sequence[int] | None = None) -> list[Any]:
    """Train, ``do`` something and go on; return what it returned and the model's SHA-256."""

    def body() -> tuple[Any, str]:
        dg.init(shards=4)
        dg.manual_seed(1)
        model = make()
        optimizer = optim.AdamW(model.parameters(), lr=1e-2)
        ddp = dg.DistributedDataParallel(model, zero=zero, bucket_mb=1e-4)
        train(model, optimizer, ddp, 2, 2)
        found = do(model, optimizer, ddp)
        train(model, optimizer, ddp, 2, 5)
        return found, nn.state_sha256(model.state_dict())

    return simulated(size, body, nodes=nodes)


def numbers(tensors: Any) -> list[float]:
    return [float(np.asarray(t.detach()).sum()) for t in tensors]


def a_deep_copy(model: Any, optimizer: Any, ddp: Any) -> Any:
    model.zero_grad()
    other = copy.deepcopy(model)
    assert {type(p) for p in other.parameters()} == {nn.Parameter}
    train(model, optimizer, ddp, 1, 9)
    other.eval()
    if ddp.world.rank == 0:  # it is this rank's own
        other(X)
        for p in other.parameters():
            p.array[...] += 0
    return numbers([*other.parameters(), other(X)])


def a_copy_that_is_trained(model: Any, optimizer: Any, ddp: Any) -> Any:
    model.zero_grad()
    other = copy.deepcopy(model)
    its = dg.DistributedDataParallel(other, zero=ddp.zero, bucket_mb=1e-4)
    train(other, optim.SGD(other.parameters(), lr=0.1), its, 3, 4)
    return nn.state_sha256(other.state_dict())


def a_pickle(model: Any, optimizer: Any, ddp: Any) -> Any:
    model.zero_grad()
    other = pickle.loads(pickle.dumps(model))
    train(model, optimizer, ddp, 1, 9)
    return nn.state_sha256(other.state_dict()), numbers([other.eval()(X)])


def a_copy_with_whole_gradients(model: Any, optimizer: Any, ddp: Any) -> Any:
    with ddp.summon_full_gradients():
        other = copy.deepcopy(model)
    return numbers([p.grad for p in other.parameters()])


def a_file(model: Any, optimizer: Any, ddp: Any) -> Any:
    file = io.BytesIO()
    dg.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(model, optimizer, ddp, 1, 9)
    file.seek(0)
    state = dg.load(file)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return nn.state_sha256(state["model"])


def parameters_that_are_kept(model: Any, optimizer: Any, ddp: Any) -> Any:
    kept = ddp.module.state_dict(keep_vars=True)
    assert kept["0.weight"] is model[0].weight
    train(model, optimizer, ddp, 1, 9)
    return nn.state_sha256({name: t.array for name, t in kept.items()})


def clones(model: Any, optimizer: Any, ddp: Any) -> Any:
    kept = [p.clone() for p in model.parameters()]
    train(model, optimizer, ddp, 1, 9)
    return numbers(kept)


def a_functional_call(model: Any, optimizer: Any, ddp: Any) -> Any:
    given = {name: p.detach() * 2 for name, p in model.named_parameters()}
    model.eval()
    gradient = dg.func.grad(lambda g: dg.func.functional_call(model, g, (X,)).sum())(given)
    model.train()
    return numbers(gradient.values())


def gradients_that_are_assigned(model: Any, optimizer: Any, ddp: Any) -> Any:
    for p in model.parameters():
        p.grad = dg.Tensor(np.full(p.shape, 0.5, np.float32))
    optimizer.step()
    return nn.state_sha256(model.state_dict())


def another_optimizer(model: Any, optimizer: Any, ddp: Any) -> Any:
    train(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), ddp, 2, 7)
    return nn.state_sha256(model.state_dict())


def data_that_are_assigned(model: Any, optimizer: Any, ddp: Any) -> Any:
    model[0].weight.data = dg.Tensor(np.full(model[0].weight.shape, 0.1, np.float32))
    return nn.state_sha256(model.state_dict())


def a_frozen_layer(model: Any, optimizer: Any, ddp: Any) -> Any:
    model[0].requires_grad_(False)


def a_layer_frozen_for_a_while(model: Any, optimizer: Any, ddp: Any) -> Any:
    model[0].requires_grad_(False)
    train(model, optimizer, ddp, 1, 9)
    model[0].requires_grad_(True)


def hooks_of_parameters(model: Any, optimizer: Any, ddp: Any) -> Any:
    handle = model[0].weight.register_hook(lambda g: g * 2)
    train(model, optimizer, ddp, 1, 9)
    handle.remove()


def anomaly_detection(model: Any, optimizer: Any, ddp: Any) -> Any:
    with dg.autograd.detect_anomaly():
        train(model, optimizer, ddp, 2, 7)


def a_graph_walked_twice(model: Any, optimizer: Any, ddp: Any) -> Any:
    optimizer.zero_grad()
    for rows in dg.own_shards(ddp.world, 0, 8):
        loss = (model(X[rows.start % 2 :][:1].repeat(2, 0)) ** 2).mean()
        with ddp.no_sync():
            ddp.backward(loss * 2) if rows.start % 2 else loss.backward(retain_graph=True)
        ddp.backward((model(X) ** 2).mean() if rows.start % 2 else loss)
    optimizer.step()


def a_penalty_of_the_weights(model: Any, optimizer: Any, ddp: Any) -> Any:
    optimizer.zero_grad()
    for rows in dg.own_shards(ddp.world, 0, 8):
        loss = (model(X + rows.start) ** 2).mean()
        ddp.backward(loss + 0.01 * sum((p**2).sum() for p in model.parameters()))
    optimizer.step()


DONE = [
    a_deep_copy,
    a_copy_that_is_trained,
    a_copy_with_whole_gradients,
    a_pickle,
    a_file,
    parameters_that_are_kept,
    clones,
    a_functional_call,
    gradients_that_are_assigned,
    another_optimizer,
    data_that_are_assigned,
    a_frozen_layer,
    a_layer_frozen_for_a_while,
    hooks_of_parameters,
    anomaly_detection,
    a_graph_walked_twice,
    a_penalty_of_the_weights,
]


@cache
def expected(do: Do) -> Any:
    return run(0, do, 1)[0]


@everywhere
@pytest.mark.parametrize("do", DONE)
def test_it_is_as_with_zero_0(do: Do, zero: int, nodes: Any) -> None:
    assert run(zero, do, nodes=nodes) == [expected(do)] * 3


@everywhere
def test_states_that_are_kept_over_a_step_are_never_what_was_given_back(
    zero: int, nodes: Any
) -> None:
    def kept(model: Any, optimizer: Any, ddp: Any) -> None:
        found = [*model.state_dict().values(), *(p.detach() for p in model.parameters())]
        found += [p.data for p in model.parameters()]
        train(model, optimizer, ddp, 1, 9)
        assert all(np.isfinite(t.array).all() for t in found)

    run(zero, kept, nodes=nodes)


REFUSED: dict[str, tuple[Do, str]] = {
    "a copy with gradients in parts": (
        lambda model, *_: copy.deepcopy(model),
        r"summon_full_gradients\(\):`.*to copy or pickle a model, drop its gradients first",
    ),
    "another dtype": (
        lambda model, *_: model.to(np.float64),
        "'0.weight' lives in the buckets .* convert the model before",
    ),
    "a second wrapper": (
        lambda model, _, ddp: dg.DistributedDataParallel(model, zero=ddp.zero),
        "'0.weight' belongs to a DistributedDataParallel already; make one per model",
    ),
    "a second wrapper of a part": (
        lambda model, _, ddp: dg.DistributedDataParallel(nn.Sequential(model[0])),
        "'0.weight' belongs to a DistributedDataParallel already",
    ),
    "a gradient of gradients to .grad": (
        lambda model, *_: (model(X) ** 2).mean().backward(create_graph=True),
        r"backward\(create_graph=True\) reaches parameters .* use distgrad\.autograd\.grad",
    ),
}


@everywhere
@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused(what: str, zero: int, nodes: Any) -> None:
    do, message = REFUSED[what]
    with pytest.raises(dg.DistgradError, match=message):
        run(zero, do, nodes=nodes)
