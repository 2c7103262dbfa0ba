"""Schedules beside PyTorch's for 25 steps, with two groups, alone and composed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import drawn, torch

from distgrad import nn, optim

STEPS = 25
BASES = (0.4, 0.01)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*epoch parameter.*deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.* before `optimizer.step.*:UserWarning"),
]


def both(kind="SGD", **settings):
    ours = [nn.Parameter(np.zeros(1)) for _ in BASES]
    theirs = [torch.nn.Parameter(torch.zeros(1)) for _ in BASES]

    def groups(params):
        return [{"params": [p], "lr": lr} for p, lr in zip(params, BASES, strict=True)]

    mine = getattr(optim, kind)(groups(ours), **settings)
    return mine, getattr(torch.optim, kind)(groups(theirs), **settings)


def factor(low=0.05, high=1.0):
    return st.floats(low, high).map(lambda x: float(f"{x:.3g}"))


iterations = st.integers(1, 30)
strategy = st.sampled_from(["cos", "linear"])
momentum = {
    "cycle_momentum": st.booleans(),
    "base_momentum": factor(0.5, 0.8),
    "max_momentum": factor(0.8, 0.99),
}


def halving(step):
    return 0.5 if step % 3 == 0 else 1.0


def falling(step):
    return 0.9**step


functions = st.sampled_from([halving, falling, [halving, falling]])
per_group = st.one_of(factor(), st.lists(factor(), min_size=2, max_size=2))

# A draw of settings for each schedule; each name is PyTorch's and ours.
DRAWS = {
    "LambdaLR": {"lr_lambda": functions},
    "MultiplicativeLR": {"lr_lambda": functions},
    "StepLR": {"step_size": iterations, "gamma": factor()},
    "MultiStepLR": {
        "milestones": st.lists(st.integers(1, 30), max_size=4),
        "gamma": factor(),
    },
    "ConstantLR": {"factor": factor(), "total_iters": iterations},
    "LinearLR": {"start_factor": factor(), "end_factor": factor(), "total_iters": iterations},
    "ExponentialLR": {"gamma": factor(0.5)},
    "PolynomialLR": {"total_iters": iterations, "power": factor(0.5, 3.0)},
    "CosineAnnealingLR": {"T_max": iterations, "eta_min": factor(0.001, 0.02)},
    "CosineAnnealingWarmRestarts": {
        "T_0": iterations,
        "T_mult": st.integers(1, 3),
        "eta_min": factor(0.001, 0.02),
    },
    "CyclicLR": {
        "base_lr": per_group,
        "max_lr": per_group,
        "step_size_up": iterations,
        "step_size_down": st.one_of(st.none(), iterations),
        "mode": st.sampled_from(["triangular", "triangular2", "exp_range"]),
        "gamma": factor(0.8),
        "scale_fn": st.sampled_from([None, None, lambda x: 0.9**x]),
        "scale_mode": st.sampled_from(["cycle", "iterations"]),
        **momentum,
    },
    "OneCycleLR": {
        "max_lr": per_group,
        "total_steps": st.integers(STEPS, 60),
        "pct_start": factor(0.1, 0.45),
        "anneal_strategy": strategy,
        "div_factor": factor(2.0, 30.0),
        "final_div_factor": factor(10.0, 1e4),
        "three_phase": st.booleans(),
        **momentum,
    },
    "SWALR": {
        "swa_lr": per_group,
        "anneal_epochs": st.integers(0, 30),
        "anneal_strategy": strategy,
    },
}


def theirs_named(name):
    return getattr(torch.optim.swa_utils if name == "SWALR" else torch.optim.lr_scheduler, name)


def compare(schedule, reference, mine, other):
    for step in range(STEPS):
        for g, h in zip(mine.param_groups, other.param_groups, strict=True):
            assert g["lr"] == pytest.approx(h["lr"], rel=1e-9, abs=1e-15), step
            for key in {"momentum", "betas"} & set(g):
                assert g[key] == pytest.approx(h[key], rel=1e-9), step
        schedule.step()
        reference.step()


@pytest.mark.parametrize("name", DRAWS)
@drawn
@given(data=st.data())
def test_a_schedule_is_pytorchs(name, data):
    settings = data.draw(st.fixed_dictionaries(DRAWS[name]))
    if data.draw(st.booleans()):
        mine, other = both("SGD", momentum=0.9)
    else:
        mine, other = both("Adam")
    schedule = getattr(optim, name)(mine, **settings)
    reference = theirs_named(name)(other, **settings)
    compare(schedule, reference, mine, other)


def warmup_then_cosine(o, s):
    parts = [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingLR(o, 10, eta_min=0.003)]
    return s.SequentialLR(o, parts, milestones=[5])


def three_in_sequence(o, s):
    parts = [s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9), s.StepLR(o, 4, 0.5)]
    return s.SequentialLR(o, parts, milestones=[4, 11])


def chained(o, s):
    return s.ChainedScheduler([s.ConstantLR(o, 0.3, 4), s.ExponentialLR(o, 0.9), s.StepLR(o, 7)])


def chained_functions(o, s):
    parts = [s.MultiplicativeLR(o, [halving, falling]), s.PolynomialLR(o, 30, 2.0)]
    return s.ChainedScheduler([*parts, s.MultiStepLR(o, [3, 9]), s.LinearLR(o, 0.2, 0.9, 8)])


def swa_at_the_end(o, s):
    swalr = optim.SWALR if s is optim else torch.optim.swa_utils.SWALR
    return s.SequentialLR(o, [s.ExponentialLR(o, 0.9), swalr(o, 0.05, 6)], milestones=[10])


@pytest.mark.parametrize(
    "make",
    [warmup_then_cosine, three_in_sequence, chained, chained_functions, swa_at_the_end],
)
def test_composed_schedules_are_pytorchs(make):
    mine, other = both()
    compare(make(mine, optim), make(other, torch.optim.lr_scheduler), mine, other)


def test_swa_after_another_schedule_starts_from_the_rate_it_finds():
    mine, other = both()
    pairs = [
        (optim.ExponentialLR(mine, 0.9), torch.optim.lr_scheduler.ExponentialLR(other, 0.9)),
        (optim.SWALR(mine, 0.05, 6), torch.optim.swa_utils.SWALR(other, 0.05, 6)),
    ]
    for step in range(STEPS):
        for schedule in pairs[step >= 10]:
            schedule.step()
        expected = [g["lr"] for g in other.param_groups]
        assert [g["lr"] for g in mine.param_groups] == pytest.approx(expected, rel=1e-9), step


@drawn
@given(data=st.data())
def test_plateaus_are_pytorchs(data):
    settings = data.draw(
        st.fixed_dictionaries(
            {
                "mode": st.sampled_from(["min", "max"]),
                "factor": factor(0.1, 0.9),
                "patience": st.integers(0, 3),
                "threshold": factor(1e-3, 0.3),
                "threshold_mode": st.sampled_from(["rel", "abs"]),
                "cooldown": st.integers(0, 3),
                "min_lr": st.one_of(st.just(0.0), st.just([0.1, 0.002])),
                "eps": st.sampled_from([1e-8, 1e-3]),
            }
        )
    )
    mine, other = both()
    schedule = optim.ReduceLROnPlateau(mine, **settings)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(other, **settings)
    metrics = data.draw(st.lists(factor(0.1, 2.0), min_size=STEPS, max_size=40))
    for step, metric in enumerate([*metrics[:-1], float("nan"), metrics[-1]]):
        schedule.step(metric)
        reference.step(metric)
        expected = [g["lr"] for g in other.param_groups]
        assert [g["lr"] for g in mine.param_groups] == pytest.approx(expected, rel=1e-9), step
        assert schedule.best == reference.best
