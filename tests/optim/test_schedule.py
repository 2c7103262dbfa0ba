"""Schedules against their closed forms, for several groups, and continued from a state_dict."""

import math

import numpy as np
import pytest

from distgrad import nn, optim
from distgrad.errors import ShapeError

BASES = (0.4, 0.01)


def make_optimizer():
    params = [nn.Parameter(np.zeros(1)) for _ in BASES]
    return optim.SGD([{"params": [p], "lr": lr} for p, lr in zip(params, BASES, strict=True)])


def half_cosine(top, bottom, t, total):
    return bottom + (top - bottom) * (1 + math.cos(math.pi * t / total)) / 2


def linear_then_cosine(optimizer):
    first = optim.LinearLR(optimizer, 0.1, 1.0, total_iters=5)
    second = optim.CosineAnnealingLR(optimizer, T_max=10, eta_min=0.003)
    return optim.SequentialLR(optimizer, [first, second], milestones=[5])


def warmup_cosine(t, base):
    if t < 4:
        return base * (t + 1) / 5
    return half_cosine(base, 0.1 * base, min(t - 4, 16), 16)


SCHEDULES = {
    "lambda": (
        lambda o: optim.LambdaLR(o, lambda t: 0.9**t),
        lambda t, base: base * 0.9**t,
    ),
    "linear": (
        lambda o: optim.LinearLR(o, 0.2, 0.8, total_iters=6),
        lambda t, base: base * (0.2 + 0.6 * min(t, 6) / 6),
    ),
    "linear in no time": (
        lambda o: optim.LinearLR(o, 0.2, 0.8, total_iters=0),
        lambda t, base: base * 0.8,
    ),
    "cosine": (
        lambda o: optim.CosineAnnealingLR(o, T_max=8, eta_min=0.005),
        lambda t, base: half_cosine(base, 0.005, t, 8),
    ),
    "warm-up and cosine": (
        lambda o: optim.WarmupCosineLR(o, warmup_steps=4, total_steps=20, min_factor=0.1),
        warmup_cosine,
    ),
    "no warm-up": (
        lambda o: optim.WarmupCosineLR(o, warmup_steps=0, total_steps=20),
        lambda t, base: half_cosine(base, 0.0, min(t, 20), 20),
    ),
    "linear, then cosine": (
        linear_then_cosine,
        lambda t, base: (
            base * (0.1 + 0.9 * t / 5) if t < 5 else half_cosine(base, 0.003, t - 5, 10)
        ),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_group_follows_the_closed_form_from_its_own_base(name):
    make, closed_form = SCHEDULES[name]
    optimizer = make_optimizer()
    schedule = make(optimizer)
    for t in range(25):
        expected = [closed_form(t, base) for base in BASES]
        found = [g["lr"] for g in optimizer.param_groups]
        assert found == pytest.approx(expected, rel=1e-12), t
        assert schedule.get_last_lr() == found
        schedule.step()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_continues_from_its_state_to_the_bit(name):
    make, _ = SCHEDULES[name]
    straight = make(make_optimizer())
    for _ in range(7):
        straight.step()

    optimizer = make_optimizer()
    for group in optimizer.param_groups:
        group["lr"] *= 0.3  # what a loaded optimizer has: the rate of the moment, not the base
    resumed = make(optimizer)
    resumed.load_state_dict(straight.state_dict())
    for _ in range(9):
        assert resumed.get_last_lr() == straight.get_last_lr()
        straight.step()
        resumed.step()


def test_the_state_is_the_step_and_the_bases():
    schedule = optim.CosineAnnealingLR(make_optimizer(), 10)
    schedule.step()
    assert schedule.state_dict() == {"last_epoch": 1, "base_lrs": list(BASES)}


def test_a_state_of_other_groups_is_refused():
    schedule = optim.LinearLR(make_optimizer())
    with pytest.raises(ShapeError, match=r"saved with 1 parameter groups, the optimizer has 2"):
        schedule.load_state_dict({"last_epoch": 3, "base_lrs": [0.1]})


def test_the_first_step_of_a_warm_up_moves():
    optimizer = make_optimizer()
    optim.WarmupCosineLR(optimizer, 100, 1000)
    assert optimizer.param_groups[0]["lr"] > 0


@pytest.mark.parametrize(("warmup", "total"), [(10, 10), (-1, 10), (1, 0)])
def test_a_warm_up_as_long_as_the_run_is_refused(warmup, total):
    with pytest.raises(ShapeError, match=rf"warmup_steps={warmup} must be .*total_steps={total}"):
        optim.WarmupCosineLR(make_optimizer(), warmup, total)


def test_a_cosine_of_no_steps_is_refused():
    with pytest.raises(ShapeError, match="T_max=0 must be at least 1 step"):
        optim.CosineAnnealingLR(make_optimizer(), 0)


def test_milestones_must_stand_between_the_schedules():
    optimizer = make_optimizer()
    schedules = [optim.LinearLR(optimizer), optim.CosineAnnealingLR(optimizer, 5)]
    with pytest.raises(ShapeError, match="2 schedules need 1 milestones; got 2"):
        optim.SequentialLR(optimizer, schedules, [3, 5])
