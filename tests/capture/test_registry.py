"""Every op, layer, loss and optimizer: the captured step gives the eager step's bits."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import LAYERS, LOSSES
from op_cases import OPS, cases, is_float
from steps_compared import CALLS, bits, projected, taken_apart

import distgrad as dg
from distgrad import nn, optim
from distgrad.autograd import grad


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_an_op_and_its_gradients(op):
    for inputs, settings in cases(op):
        arrays = []
        build = taken_apart((list(inputs), settings), arrays)
        floats = [is_float(a) for a in arrays]

        def step(*given, op=op, build=build):
            inputs, settings = build(given)
            inputs = [dg.tensor(x, requires_grad=True) if is_float(x) else x for x in inputs]
            result = op(*inputs, **settings)
            results = list(result) if isinstance(result, tuple) else [result]
            leaves = [x for x in inputs if isinstance(x, dg.Tensor)]
            if leaves and any(r.requires_grad for r in results):
                found = grad(projected(results), leaves, allow_unused=True)
                results += [g for g in found if g is not None]
            return results

        captured = dg.capture(step)
        for turn in range(CALLS):
            other = [a * (1 - 0.01 * turn) if f else a for a, f in zip(arrays, floats, strict=True)]
            other = [np.asarray(a, b.dtype) for a, b in zip(other, arrays, strict=True)]
            wanted, found = step(*other), captured(*other)
            assert bits(r.array for r in found) == bits(r.array for r in wanted), turn


def trained(make, calls, capture):
    """Return the outputs, gradients and state of a layer over some training steps."""
    dg.manual_seed(5)
    layer = make()
    optimizer = optim.SGD([p for p in layer.parameters() if p.requires_grad] or [dead()], lr=0.01)

    def step(*inputs):
        optimizer.zero_grad()
        given = [dg.tensor(x) for x in inputs]
        found = layer(*given)
        results = [r for r in flat(found) if r.dtype.kind == "f"]
        total = projected(results)
        if total.requires_grad:
            total.backward()
        optimizer.step()
        return results

    run = dg.capture(step) if capture else step
    seen = []
    for inputs in calls:
        seen += bits(r.array for r in run(*inputs))
        seen += bits(p.grad.array for p in layer.parameters() if p.grad is not None)
        seen += bits(t.array for t in layer.state_dict().values())
    return seen


def dead():
    return nn.Parameter(np.zeros(1, "f4"))


def flat(found):
    if isinstance(found, dg.Tensor):
        return [found]
    return [t for part in found for t in flat(part)] if isinstance(found, list | tuple) else []


def draws(draw):
    rng = np.random.default_rng(2)
    return [draw(rng, 3) for _ in range(CALLS)]


@pytest.mark.parametrize(
    ("name", "call"), LAYERS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(LAYERS)]
)
def test_a_layer_in_training(name, call):
    args, settings, draw = call
    calls = draws(draw)
    made = lambda: getattr(nn, name)(*args, **settings)  # noqa: E731
    assert trained(made, calls, capture=True) == trained(made, calls, capture=False)


@pytest.mark.parametrize("name", nn.utils.parametrizations.__all__)
@pytest.mark.parametrize("layer", [lambda: nn.Linear(4, 3), lambda: nn.Conv1d(4, 6, 2)])
def test_a_parametrization_in_training(name, layer):
    made = lambda: getattr(nn.utils.parametrizations, name)(layer())  # noqa: E731
    calls = draws(lambda rng, n: (rng.normal(size=(n, 4, 4)).astype("f4"),))
    assert trained(made, calls, capture=True) == trained(made, calls, capture=False)


EVERY_LOSS = [(name, call) for name, calls in LOSSES.items() for call in calls]


@pytest.mark.parametrize(
    ("name", "call"), EVERY_LOSS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(EVERY_LOSS)]
)
def test_a_loss_and_its_gradient(name, call):
    args, settings, draw = call

    def losses(capture):
        loss = getattr(nn, name)(*args, **settings)

        def step(x, *targets):
            given = dg.tensor(x, requires_grad=True)
            found = loss(given, *map(dg.tensor, targets))
            return found, grad(found.sum(), given)[0]

        run = dg.capture(step) if capture else step
        return [bits(r.array for r in run(*inputs)) for inputs in draws(draw)]

    assert losses(capture=True) == losses(capture=False)


OPTIMIZERS = sorted(
    n
    for n in optim.__all__
    if isinstance(c := getattr(optim, n), type)
    and issubclass(c, optim.Optimizer)
    and c is not optim.Optimizer
    # LBFGS calls the step several times, as often as its line search asks.
    and c is not optim.LBFGS
)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer(name):
    def weights(capture):
        dg.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 3, bias=False))
        kind = getattr(optim, name)
        if name == "Lookahead":
            optimizer = kind(optim.SGD(model.parameters(), lr=0.01), k=2)
        else:
            optimizer = kind(model.parameters(), lr=0.01)
        schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

        def step(x, y):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            norm = dg.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            schedule.step()
            return norm

        run = dg.capture(step) if capture else step
        rng = np.random.default_rng(0)
        norms = [run(rng.normal(size=(6, 4)).astype("f4"), rng.integers(0, 3, 6)) for _ in range(7)]
        return norms, bits(p.array for p in model.parameters())

    assert weights(capture=True) == weights(capture=False)
