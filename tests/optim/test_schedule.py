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


def restarted(t):
    for length in (3, 6, 12, 24):
        if t < length:
            return t / length
        t -= length


def triangle(t):
    place = t % 8
    return place / 3 if place <= 3 else (8 - place) / 5


def large_batch(t, base):
    return base * (1 + 3 * min(t, 6) / 6) * 0.5 ** (t // 10)


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
    "multiplied": (
        lambda o: optim.MultiplicativeLR(o, lambda t: 0.5 if t % 4 == 0 else 1.0),
        lambda t, base: base * 0.5 ** (t // 4),
    ),
    "stairs": (
        lambda o: optim.StepLR(o, 7, gamma=0.2),
        lambda t, base: base * 0.2 ** (t // 7),
    ),
    "milestones, one twice": (
        lambda o: optim.MultiStepLR(o, [9, 3, 9], gamma=0.5),
        lambda t, base: base * 0.5 ** ((t >= 3) + 2 * (t >= 9)),
    ),
    "constant": (
        lambda o: optim.ConstantLR(o, 0.0, total_iters=4),
        lambda t, base: base * (t >= 4),
    ),
    "exponential": (lambda o: optim.ExponentialLR(o, 0.8), lambda t, base: base * 0.8**t),
    "polynomial": (
        lambda o: optim.PolynomialLR(o, 12, power=2.0),
        lambda t, base: base * (1 - min(t, 12) / 12) ** 2,
    ),
    "warm restarts": (
        lambda o: optim.CosineAnnealingWarmRestarts(o, 3, T_mult=2),
        lambda t, base: half_cosine(base, 0.0, restarted(t), 1),
    ),
    "cycles": (
        lambda o: optim.CyclicLR(o, list(BASES), 1.0, 3, 5, cycle_momentum=False),
        lambda t, base: base + (1 - base) * triangle(t),
    ),
    "one cycle": (
        lambda o: optim.OneCycleLR(
            o,
            [10 * b for b in BASES],
            30,
            pct_start=0.5,
            anneal_strategy="linear",
            div_factor=10,
            final_div_factor=5,
            cycle_momentum=False,
        ),
        lambda t, base: base * (1 + 9 * t / 14 if t <= 14 else 10 - 9.8 * (t - 14) / 15),
    ),
    "swa": (
        lambda o: optim.SWALR(o, 0.2, anneal_epochs=8),
        lambda t, base: half_cosine(base, 0.2, min(t, 8), 8),
    ),
    "swa at once": (
        lambda o: optim.SWALR(o, [0.2, 0.2], anneal_epochs=0),
        lambda t, base: 0.2,
    ),
    "large batch, square root": (
        lambda o: optim.LinearScalingLR(o, 512, 128, power=0.5),
        lambda t, base: base * 2,
    ),
    "large batch, then stairs": (
        lambda o: optim.ChainedScheduler(
            [optim.LinearScalingLR(o, 1024, 256, warmup_steps=6), optim.StepLR(o, 10, 0.5)]
        ),
        large_batch,
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


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(
    "make",
    [
        lambda o: optim.CyclicLR(o, 0.1, 1.0, 4, base_momentum=0.5, max_momentum=0.9),
        lambda o: optim.OneCycleLR(o, 1.0, 21, base_momentum=0.5, max_momentum=0.9),
        lambda o: optim.SequentialLR(
            o,
            [
                optim.LinearLR(o, total_iters=2),
                optim.OneCycleLR(o, 1.0, 21, base_momentum=0.5, max_momentum=0.9),
            ],
            [2],
        ),
    ],
)
def test_momentum_runs_against_the_learning_rate(kind, make):
    optimizer = getattr(optim, kind)([nn.Parameter(np.zeros(1))])
    schedule = make(optimizer)
    found = []
    for _ in range(20):
        group = optimizer.param_groups[0]
        momentum = group["momentum"] if kind == "SGD" else group["betas"][0]
        found.append((group["lr"], momentum))
        schedule.step()
    found = found[2:]
    highest, lowest = max(found), min(found)
    assert (highest[1], lowest[1]) == (min(m for _, m in found), max(m for _, m in found))
    assert highest[1] < 0.6 < 0.85 < lowest[1]
    if kind == "Adam":
        assert optimizer.param_groups[0]["betas"][1] == 0.999


def test_momentum_that_does_not_exist_cannot_be_cycled():
    optimizer = optim.Adagrad([nn.Parameter(np.zeros(1))])
    with pytest.raises(ShapeError, match="Adagrad has neither momentum nor betas to cycle; pass"):
        optim.CyclicLR(optimizer, 0.1, 1.0)
    with pytest.raises(ShapeError, match="Adagrad has neither momentum nor betas to cycle; pass"):
        optim.OneCycleLR(optimizer, 1.0, 10)


def test_groups_may_have_functions_of_their_own():
    optimizer = make_optimizer()
    schedule = optim.LambdaLR(optimizer, [lambda t: 0.5**t, lambda t: 2.0**t])
    schedule.step()
    assert schedule.get_last_lr() == [0.2, 0.02]
    with pytest.raises(TypeError, match=r"LambdaLR has no lr\(step, base\); call lrs"):
        schedule.lr(1, 0.1)


def test_swa_starts_from_the_rate_of_the_moment_it_begins():
    optimizer = make_optimizer()
    first, second = optim.ExponentialLR(optimizer, 0.5), optim.SWALR(optimizer, 0.2, 2, "linear")
    first.step()
    first.step()
    second.step()
    assert second.get_last_lr() == pytest.approx([0.15, 0.10125])
    second.step()
    assert second.get_last_lr() == [0.2, 0.2]


def plateau(**settings):
    optimizer = make_optimizer()
    return optimizer, optim.ReduceLROnPlateau(optimizer, **settings)


def test_a_plateau_halves_the_rates_after_patience():
    optimizer, schedule = plateau(factor=0.5, patience=1, min_lr=[0.3, 0.0])
    for metric in (3.0, 2.0, 2.0):
        schedule.step(metric)
    assert schedule.get_last_lr() == list(BASES)
    schedule.step(2.0)
    assert [g["lr"] for g in optimizer.param_groups] == [0.3, 0.005]


def test_a_plateau_continues_from_its_state():
    metrics = [3.0, 2.0, 2.5, 2.5, 2.5, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    _, straight = plateau(patience=2, cooldown=1)
    for m in metrics:
        straight.step(m)
    optimizer, first = plateau(patience=2, cooldown=1)
    for m in metrics[:4]:
        first.step(m)
    second = optim.ReduceLROnPlateau(optimizer, patience=2, cooldown=1)
    second.load_state_dict(first.state_dict())
    for m in metrics[4:]:
        second.step(m)
    assert second.get_last_lr() == straight.get_last_lr() != list(BASES)
    assert second.state_dict() == straight.state_dict()


REFUSED = {
    "StepLR: step_size is a whole number above 0; got 0": lambda o: optim.StepLR(o, 0),
    "ConstantLR: factor is a number, from 0 to 1; got 1.5": lambda o: optim.ConstantLR(o, 1.5),
    "LinearLR: start_factor is a number, from 0 to 1; got -1": lambda o: optim.LinearLR(o, -1),
    "LinearLR: end_factor is a number, from 0 to 1; got 2.0": lambda o: optim.LinearLR(o, 0.1, 2.0),
    "PolynomialLR: total_iters is a whole number.*; got 0": lambda o: optim.PolynomialLR(o, 0),
    "T_0 is a whole number above 0; got 0": lambda o: optim.CosineAnnealingWarmRestarts(o, 0),
    "CyclicLR: mode is .*; got 'up'": lambda o: optim.CyclicLR(o, 0.1, 1.0, mode="up"),
    "CyclicLR: step_size_down is .*; got 0": lambda o: optim.CyclicLR(o, 0.1, 1.0, 3, 0),
    "max_lr has 3 values, the optimizer 2 parameter": lambda o: optim.CyclicLR(o, 0.1, [1.0] * 3),
    "OneCycleLR: pass total_steps, or epochs and": lambda o: optim.OneCycleLR(o, 1.0, epochs=3),
    "OneCycleLR: pct_start is a number, .*; got 2": lambda o: optim.OneCycleLR(
        o, 1, 9, pct_start=2
    ),
    "anneal_strategy is 'cos' or 'linear'; got 'sin'": lambda o: optim.OneCycleLR(
        o, 1.0, 10, anneal_strategy="sin"
    ),
    "SWALR: anneal_epochs is a whole number, 0 or more; got -1": lambda o: optim.SWALR(o, 0.1, -1),
    "LinearScalingLR: batch_size is a whole .*; got 0": lambda o: optim.LinearScalingLR(o, 0),
    "LinearScalingLR: warmup_steps is .*; got -1": lambda o: optim.LinearScalingLR(o, 512, 256, -1),
    "factor=1.0 must be below 1": lambda o: optim.ReduceLROnPlateau(o, factor=1.0),
    "mode is 'min' or 'max'; got 'low'": lambda o: optim.ReduceLROnPlateau(o, mode="low"),
    "ChainedScheduler needs at least one": lambda o: optim.ChainedScheduler([]),
    "SequentialLR needs at least one": lambda o: optim.SequentialLR(o, [], []),
    "was made for another optimizer": lambda o: optim.ChainedScheduler(
        [optim.StepLR(o, 1), optim.StepLR(make_optimizer(), 1)]
    ),
    "cannot step a ReduceLROnPlateau; step it by itself": lambda o: optim.SequentialLR(
        o, [optim.StepLR(o, 1), optim.ReduceLROnPlateau(o)], [3]
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_is_refused(message):
    with pytest.raises(ShapeError, match=message):
        REFUSED[message](make_optimizer())


def test_a_cycle_shorter_than_the_run_is_refused_where_it_ends():
    schedule = optim.OneCycleLR(make_optimizer(), 1.0, 3, cycle_momentum=False)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ShapeError, match="step 4 is past total_steps=3"):
        schedule.step()


def test_a_group_added_after_the_schedule_is_refused():
    optimizer = make_optimizer()
    schedule = optim.StepLR(optimizer, 3)
    optimizer.add_param_group({"params": [nn.Parameter(np.zeros(1))]})
    with pytest.raises(ShapeError, match="StepLR was made for 2 parameter groups, the optimizer "):
        schedule.step()


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


@pytest.mark.parametrize(("warmup", "total"), [(10, 10), (11, 10), (1, 1)])
def test_a_warm_up_as_long_as_the_run_is_refused(warmup, total):
    with pytest.raises(ShapeError, match=rf"warmup_steps={warmup} must be .*total_steps={total}"):
        optim.WarmupCosineLR(make_optimizer(), warmup, total)


def test_a_cosine_of_no_steps_is_refused():
    with pytest.raises(ShapeError, match="CosineAnnealingLR: T_max is a number, 1 or more; got 0"):
        optim.CosineAnnealingLR(make_optimizer(), 0)


def test_milestones_must_stand_between_the_schedules():
    optimizer = make_optimizer()
    schedules = [optim.LinearLR(optimizer), optim.CosineAnnealingLR(optimizer, 5)]
    with pytest.raises(ShapeError, match="2 schedules need 1 milestones; got 2"):
        optim.SequentialLR(optimizer, schedules, [3, 5])
