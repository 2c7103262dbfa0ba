"""``lr_scheduler`` and ``swa_utils`` as PyTorch's: names, positions, resuming, own schedules."""

import inspect

import numpy as np
import pytest
from oracle import torch

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.errors import ShapeError

STEPS = 25
BASES = (0.4, 0.01)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*epoch parameter.*deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.* before `optimizer.step.*:UserWarning"),
]


def groups(params):
    return [{"params": [p], "lr": lr} for p, lr in zip(params, BASES, strict=True)]


def both(**settings):
    ours = [nn.Parameter(np.zeros(1)) for _ in BASES]
    theirs = [torch.nn.Parameter(torch.zeros(1)) for _ in BASES]
    settings = {"momentum": 0.9, **settings}
    return optim.SGD(groups(ours), **settings), torch.optim.SGD(groups(theirs), **settings)


def rates(optimizer):
    return [float(g["lr"]) for g in optimizer.param_groups]


SETTINGS = {
    "LambdaLR": {"lr_lambda": lambda step: 0.9**step},
    "MultiplicativeLR": {"lr_lambda": lambda step: 0.9},
    "StepLR": {"step_size": 4},
    "MultiStepLR": {"milestones": [3, 9]},
    "ConstantLR": {"factor": 0.5, "total_iters": 9},
    "LinearLR": {"start_factor": 0.2, "total_iters": 12},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 20, "power": 2.0},
    "CosineAnnealingLR": {"T_max": 15},
    "CosineAnnealingWarmRestarts": {"T_0": 4, "T_mult": 2},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 4},
    "OneCycleLR": {"max_lr": 0.5, "total_steps": 60},
    "SWALR": {"swa_lr": 0.05, "anneal_epochs": 7},
}


def made(name, optimizer, library, **more):
    if name == "SWALR":
        space = optim.swa_utils if library is optim else torch.optim.swa_utils
    else:
        space = library.lr_scheduler
    return getattr(space, name)(optimizer, **SETTINGS[name], **more)


@pytest.mark.parametrize("module", ["lr_scheduler", "swa_utils"])
def test_every_name_of_pytorchs_is_here_with_its_positions(module):
    ours, theirs = getattr(optim, module), getattr(torch.optim, module)
    assert set(theirs.__all__) <= set(ours.__all__)
    for name in theirs.__all__:
        found, expected = (
            list(inspect.signature(getattr(m, name)).parameters) for m in (ours, theirs)
        )
        assert found == expected, name


@pytest.mark.parametrize("name", SETTINGS)
def test_a_schedule_resumed_by_last_epoch_goes_on_as_pytorchs(name):
    mine, other = both()
    first = made(name, mine, optim), made(name, other, torch.optim)
    for _ in range(6):
        for schedule in first:
            schedule.step()
    state, theirs = mine.state_dict(), other.state_dict()
    mine, other = both()
    mine.load_state_dict(state)
    other.load_state_dict(theirs)
    assert mine.param_groups[0]["initial_lr"] == other.param_groups[0]["initial_lr"]
    again = [made(name, o, lib, last_epoch=5) for o, lib in ((mine, optim), (other, torch.optim))]
    for step in range(STEPS):
        assert rates(mine) == pytest.approx(rates(other), rel=1e-9), step
        assert again[0].last_epoch == again[1].last_epoch
        for schedule in again:
            schedule.step()


def test_a_schedule_cannot_be_resumed_without_what_it_began_with():
    mine, _ = both()
    with pytest.raises(ShapeError, match=r"StepLR: last_epoch=5 .* no 'initial_lr': load the opt"):
        optim.lr_scheduler.StepLR(mine, 3, last_epoch=5)


@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR", "LinearLR", "MultiStepLR"])
def test_stepping_to_an_epoch_warns_and_is_pytorchs(name):
    mine, other = both()
    ours, theirs = made(name, mine, optim), made(name, other, torch.optim)
    for epoch in (3, 7, 2, 11):
        with pytest.warns(UserWarning, match=rf"{name}.step\(epoch\)"):
            ours.step(epoch)
        theirs.step(epoch)
        assert rates(mine) == pytest.approx(rates(other), rel=1e-9), epoch
        ours.step()
        theirs.step()


@pytest.mark.parametrize("mult", [1, 2, 3])
def test_warm_restarts_take_parts_of_an_epoch(mult):
    mine, other = both()
    ours = optim.lr_scheduler.CosineAnnealingWarmRestarts(mine, 3, mult, 0.001)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(other, 3, mult, 0.001)
    for epoch in (*np.arange(0, 14, 0.25).tolist(), 5.5):
        ours.step(epoch)
        theirs.step(epoch)
        assert rates(mine) == pytest.approx(rates(other), rel=1e-9), epoch
        assert ours.last_epoch == theirs.last_epoch
    again, _ = both()
    resumed = optim.lr_scheduler.CosineAnnealingWarmRestarts(again, 3, mult, 0.001)
    for state in (ours.state_dict(), theirs.state_dict()):
        resumed.load_state_dict(state)
        assert rates(again) == pytest.approx(rates(other), rel=1e-9)
    ours.step()
    theirs.step()
    assert rates(mine) == pytest.approx(rates(other), rel=1e-9)
    with pytest.raises(ShapeError, match=r"epoch=-1 must be 0 or more"):
        ours.step(-1)


@pytest.mark.parametrize("library", ["ours", "theirs"])
def test_a_schedule_written_as_for_pytorch_runs(library):
    space, optimizer = {
        "ours": (optim.lr_scheduler, both()[0]),
        "theirs": (torch.optim.lr_scheduler, both()[1]),
    }[library]

    class Noam(space.LRScheduler):
        def __init__(self, optimizer, warmup, last_epoch=-1):
            self.warmup = warmup
            super().__init__(optimizer, last_epoch)

        def get_lr(self):
            step = max(1, self.last_epoch)
            scale = self.warmup**0.5 * min(step**-0.5, step * self.warmup**-1.5)
            return [base * scale for base in self.base_lrs]

    class Decay(space._LRScheduler):
        def get_lr(self):
            if self.last_epoch == 0:
                return [group["lr"] for group in self.optimizer.param_groups]
            return [group["lr"] * 0.5 for group in self.optimizer.param_groups]

    noam = Noam(optimizer, 4)
    for _ in range(8):
        noam.step()
    assert rates(optimizer) == pytest.approx([b * 0.5**0.5 for b in BASES])
    assert noam.get_last_lr() == pytest.approx(rates(optimizer))
    decay = Decay(optimizer)
    decay.step()
    assert rates(optimizer) == pytest.approx([b * 0.5**1.5 for b in BASES])


def test_a_second_schedule_begins_from_the_first_rates_as_pytorchs():
    mine, other = both()
    for library, o in ((optim, mine), (torch.optim, other)):
        library.lr_scheduler.ExponentialLR(o, 0.5).step()
        library.lr_scheduler.CosineAnnealingLR(o, 10)
        assert o.param_groups[1]["initial_lr"] == 0.01
    later = [
        lib.lr_scheduler.ConstantLR(o, 0.5, 2) for lib, o in ((optim, mine), (torch.optim, other))
    ]
    assert later[0].base_lrs == later[1].base_lrs


def test_a_rate_that_is_a_tensor_is_changed_in_place():
    rate = Tensor(np.array(0.5))
    optimizer = optim.SGD([nn.Parameter(np.zeros(1))], lr=rate)
    optim.lr_scheduler.ExponentialLR(optimizer, 0.5).step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == 0.25
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    plateau.step(1.0)
    plateau.step(1.0)
    assert float(rate) == pytest.approx(0.025)


# -- averages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["swa", "ema", "own", "own of lists"])
def test_averages_of_lists_are_pytorchs(kind):
    swa, theirs = optim.swa_utils, torch.optim.swa_utils

    def own(averaged, current, n):
        return 0.1 * averaged + 0.9 * current

    settings = {
        "swa": [{"multi_avg_fn": s.get_swa_multi_avg_fn()} for s in (swa, theirs)],
        "ema": [{"multi_avg_fn": s.get_ema_multi_avg_fn(0.8)} for s in (swa, theirs)],
        "own": [{"avg_fn": own}] * 2,
        "own of lists": [{"multi_avg_fn": halves}] * 2,
    }[kind]
    mine, other = nn.Linear(3, 2).double(), torch.nn.Linear(3, 2).double()
    averaged = swa.AveragedModel(mine, "cpu", **settings[0])
    reference = theirs.AveragedModel(other, "cpu", **settings[1])
    rng = np.random.default_rng(0)
    for _ in range(5):
        state = {n: rng.normal(size=a.shape) for n, a in mine.state_dict().items()}
        mine.load_state_dict(state)
        other.load_state_dict({n: torch.from_numpy(a) for n, a in state.items()})
        averaged.update_parameters(mine)
        reference.update_parameters(other)
    for p, q in zip(averaged.parameters(), reference.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-6)  # 1 / n is float32 there
    names = [n for n, _ in reference.named_parameters()]
    assert [n for n, _ in averaged.named_parameters()] == names


def halves(averaged, current, n):
    for a, c in zip(averaged, current, strict=True):
        a.data[...] = (a.data + c.data) / 2


def test_what_an_average_cannot_have_is_refused():
    model = nn.Linear(2, 2)
    with pytest.raises(ShapeError, match="give avg_fn or multi_avg_fn, not both"):
        optim.AveragedModel(model, avg_fn=halves, multi_avg_fn=halves)
    with pytest.raises(ShapeError, match="device='cuda': there are no GPUs here"):
        optim.AveragedModel(model, "cuda")


def test_update_bn_is_that_of_the_package():
    model = nn.Sequential(nn.BatchNorm1d(3))
    batches = [np.random.default_rng(i).normal(size=(4, 3)).astype(np.float32) for i in range(3)]
    optim.swa_utils.update_bn(batches, model, device="cpu")
    found = np.array(model[0].running_mean.detach())
    dg.update_bn(batches, model)
    np.testing.assert_array_equal(found, model[0].running_mean.data)
    assert found.any()
