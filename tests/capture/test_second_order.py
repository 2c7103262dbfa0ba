"""Gradients of gradients in captured steps: every op, and what is trained with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import OPS, cases, is_float
from steps_compared import CALLS, bits, projected, taken_apart

import distgrad as dg
from distgrad import nn, optim
from distgrad.autograd import grad
from distgrad.nn import functional as F

REFUSED = {
    # What they look up, or the slope, is made of values by NumPy.
    *("bag_sum", "bessel_j0", "bessel_j1", "ctc", "cumprod", "erfcx", "grid_sample"),
    *("hinge_embedding", "i0", "i0e", "i1", "i1e", "irfft", "log_ndtr", "logaddexp", "logaddexp2"),
    *("logcumsumexp", "logit", "multi_margin", "multilabel_margin", "nan_to_num"),
    *("pair_distances", "polygamma", "prod", "put_along", "set_at", "sinc", "xlog1py", "zeta"),
    # Which way they take depends on values, or a part of it is not written in ops.
    *("det", "distances", "lstm", "lstm_projected", "lu_factor", "matrix_exp", "pad_border"),
    *("svd", "three_term"),
}
"""Ops of which some sample is refused: gradients of their gradients need values."""
NONE = {"igamma", "igammac"}
"""Ops that have no gradients of gradients at all."""


def step_of(op: Any, build: Any) -> Any:
    """A step: gradients of what the gradients come to, through the op's input and its result."""

    def step(*given: Any) -> Any:
        inputs, settings = build(given)
        leaves = [dg.tensor(x, requires_grad=True) if is_float(x) else x for x in inputs]
        result = op(*leaves, **settings)
        results = [*result] if isinstance(result, tuple) else [result]
        leaves = [x for x in leaves if isinstance(x, dg.Tensor)]
        if not leaves or not any(r.requires_grad for r in results):
            return results
        first = grad(
            projected([r * r for r in results]), leaves, create_graph=True, allow_unused=True
        )
        results += [g for g in first if g is not None]
        total = projected([g * g for g in first if g is not None])
        if isinstance(total, dg.Tensor) and total.requires_grad:
            results += [g for g in grad(total, leaves, allow_unused=True) if g is not None]
        return results

    return step


def is_refused(op: Any, inputs: Any, settings: Any) -> bool:
    """Compare the bits of an op's gradients of gradients; whether they cannot be captured."""
    try:
        compare(op, inputs, settings)
    except dg.CaptureError:
        return True
    return False


def compare(op: Any, inputs: Any, settings: Any) -> None:
    arrays: list[Any] = []
    build = taken_apart((list(inputs), settings), arrays)
    step = step_of(op, build)
    captured = dg.capture(step)
    for turn in range(CALLS):
        other = [np.asarray(a * (1 - 0.01 * turn) if is_float(a) else a, a.dtype) for a in arrays]
        with np.errstate(all="ignore"):
            wanted, found = step(*other), captured(*other)
        assert bits(r.array for r in found) == bits(r.array for r in wanted), turn


@pytest.mark.parametrize("op", [op for op in OPS if op.name not in NONE], ids=lambda op: op.name)
def test_gradients_of_an_ops_gradients(op: Any) -> None:
    refused = [is_refused(op, inputs, settings) for inputs, settings in cases(op)]
    assert any(refused) is (op.name in REFUSED)


@pytest.mark.parametrize("op", [op for op in OPS if op.name not in NONE], ids=lambda op: op.name)
def test_one_element_is_no_constant(op: Any) -> None:
    inputs, settings = next(iter(cases(op)), ((), {}))
    inputs = [np.asarray(x).reshape(-1)[:1] if is_float(x) else x for x in inputs]
    try:
        step_of(op, lambda given: (given, settings))(*inputs)
    except (dg.DistgradError, IndexError, TypeError, ValueError):
        pytest.skip("takes no row of one element")
    assert op.name in REFUSED or not is_refused(op, inputs, settings)


def penalized(capture: bool) -> list[bytes]:
    """WGAN-GP: the critic's gradient to images between two kinds shall have length 1."""
    dg.manual_seed(0)
    critic = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.LeakyReLU(0.2), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(6, 5), nn.LayerNorm(5), nn.Softmax(1), nn.Linear(5, 1)),
    )
    optimizer = optim.Adam(critic.parameters(), lr=0.01)

    def step(real: Any, fake: Any, share: Any) -> Any:
        optimizer.zero_grad()
        real, fake, share = dg.tensor(real), dg.tensor(fake), dg.tensor(share)
        between = (share * real + (1 - share) * fake).requires_grad_(True)
        slopes = grad(critic(between).sum(), between, create_graph=True)[0]
        penalty = (slopes.flatten(1).norm(2, dim=1) - 1).square().mean()
        loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
        loss.backward()
        optimizer.step()
        return loss

    def given(i: int) -> list[Any]:
        rng = np.random.default_rng(i)
        return [rng.normal(size=s).astype("f4") for s in ((3, 2, 8, 8), (3, 2, 8, 8), (3, 1, 1, 1))]

    return trained(critic, step, given, capture)


def adapted(capture: bool) -> list[bytes]:
    """MAML: the loss after a step of gradient descent on other samples."""
    dg.manual_seed(0)
    embed, first, second = nn.Embedding(7, 6), nn.Linear(6, 8), nn.Linear(8, 4)
    model = nn.ModuleList([embed, first, nn.LayerNorm(8), second])
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def loss_of(weight: Any, x: Any, y: Any) -> Any:
        logits = F.linear(model[2](F.dropout(first(embed(x)).tanh(), 0.1)), weight, second.bias)
        return F.cross_entropy(logits, y, label_smoothing=0.1, ignore_index=-1)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        x, y = dg.tensor(x), dg.tensor(y)
        slope = grad(loss_of(second.weight, x[:5], y[:5]), second.weight, create_graph=True)[0]
        loss = loss_of(second.weight - 0.5 * slope, x[5:], y[5:])
        loss = loss + F.nll_loss(F.log_softmax(slope.T @ slope, 1), y[:8], ignore_index=-1)
        loss.backward()
        optimizer.step()
        return loss

    def given(i: int) -> list[Any]:
        rng = np.random.default_rng(i)
        return [
            rng.integers(0, 7, 10),
            rng.integers(-1, 4, 10),
        ]  # of -1, which count not, another number each time

    return trained(model, step, given, capture)


def trained(model: nn.Module, step: Any, given: Any, capture: bool) -> list[bytes]:
    going = dg.capture(step) if capture else step
    found = []
    for i in range(9):
        found.append(going(*given(i)).array.tobytes())
        found += [t.array.tobytes() for t in model.state_dict().values()]
    return found


@pytest.mark.parametrize("train", [penalized, adapted])
def test_training_with_gradients_of_gradients(train: Any) -> None:
    assert train(True) == train(False)
