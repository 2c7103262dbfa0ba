"""Twenty steps beside PyTorch's optimizers, clipping and schedules, and states both ways."""

import math

import numpy as np
import pytest

from distgrad import Tensor, clip_grad_norm_, nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")

SHAPES = [(3, 4), (5,), (2, 1, 3)]
SETTINGS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd, momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1}),
    "sgd, nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adamw": ("AdamW", {"lr": 0.01}),
    "adamw, all": (
        "AdamW",
        {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-4, "weight_decay": 0.5},
    ),
}


def make_both(dtype=np.float64):
    rng = np.random.default_rng(5)
    values = [rng.normal(size=s).astype(dtype) for s in SHAPES]
    theirs = [torch.nn.Parameter(torch.from_numpy(v.copy())) for v in values]
    return [nn.Parameter(v) for v in values], theirs


def give(ours, theirs, step):
    rng = np.random.default_rng(50 + step)
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        g = rng.normal(size=p.shape).astype(p.dtype)
        # One parameter has no gradient every third step.
        absent = i == 1 and step % 3 == 1
        p.grad = None if absent else Tensor(g)
        q.grad = None if absent else torch.from_numpy(g.copy())


def assert_close(ours, theirs, rtol=1e-11):
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", SETTINGS)
def test_twenty_steps_are_pytorchs(name):
    kind, settings = SETTINGS[name]
    ours, theirs = make_both()
    mine = getattr(optim, kind)(ours, **settings)
    other = getattr(torch.optim, kind)(theirs, **settings)
    for step in range(20):
        give(ours, theirs, step)
        mine.step()
        other.step()
        assert_close(ours, theirs)


@pytest.mark.parametrize("name", SETTINGS)
def test_pytorchs_state_can_be_continued(name):
    kind, settings = SETTINGS[name]
    ours, theirs = make_both()
    other = getattr(torch.optim, kind)(theirs, **settings)
    for step in range(5):
        give(ours, theirs, step)
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        p.data[...] = q.detach().numpy()
    mine = getattr(optim, kind)(ours)
    mine.load_state_dict(other.state_dict())
    for step in range(5, 12):
        give(ours, theirs, step)
        mine.step()
        other.step()
        assert_close(ours, theirs)


@pytest.mark.parametrize("name", SETTINGS)
def test_pytorch_can_continue_our_state(name):
    kind, settings = SETTINGS[name]
    ours, theirs = make_both()
    mine = getattr(optim, kind)(ours, **settings)
    for step in range(5):
        give(ours, theirs, step)
        mine.step()
    with torch.no_grad():
        for p, q in zip(ours, theirs, strict=True):
            q.copy_(torch.from_numpy(p.data.copy()))
    state = mine.state_dict()
    for entry in state["state"].values():
        for key, value in entry.items():
            entry[key] = torch.tensor(np.array(value))
    other = getattr(torch.optim, kind)(theirs)
    other.load_state_dict(state)
    for step in range(5, 12):
        give(ours, theirs, step)
        mine.step()
        other.step()
        assert_close(ours, theirs)


@pytest.mark.parametrize("norm_type", [2.0, math.inf])
def test_clipping_is_pytorchs(norm_type):
    ours, theirs = make_both()
    give(ours, theirs, 0)
    found = clip_grad_norm_(ours, 0.7, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 0.7, norm_type)
    assert found == pytest.approx(float(expected), rel=1e-12)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=1e-12)


def lambda_lr(o, s):
    return s.LambdaLR(o, lambda t: 0.9**t)


def linear(o, s):
    return s.LinearLR(o, 0.2, 0.8, total_iters=6)


def cosine(o, s):
    return s.CosineAnnealingLR(o, T_max=8, eta_min=0.005)


def in_sequence(o, s):
    parts = [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingLR(o, 10, eta_min=0.003)]
    return s.SequentialLR(o, parts, milestones=[5])


@pytest.mark.filterwarnings("ignore:.*epoch parameter.*deprecated:UserWarning")
@pytest.mark.parametrize("make", [lambda_lr, linear, cosine, in_sequence])
def test_schedules_are_pytorchs(make):
    def groups(params):
        return [{"params": params[:1], "lr": 0.4}, {"params": params[1:], "lr": 0.01}]

    ours, theirs = make_both()
    mine = optim.SGD(groups(ours))
    other = torch.optim.SGD(groups(theirs))
    schedule, reference = make(mine, optim), make(other, torch.optim.lr_scheduler)
    for step in range(15):
        assert schedule.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-9), step
        other.step()
        schedule.step()
        reference.step()
