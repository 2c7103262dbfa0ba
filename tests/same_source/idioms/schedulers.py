"""Every learning-rate scheduler people chain after an epoch, and the rates they give."""

import torch
from torch.optim import SGD, Adam, lr_scheduler


def make():
    weight = torch.nn.Parameter(torch.zeros(1))
    return SGD([weight], lr=0.1, momentum=0.9)


def rates(optimizer, scheduler, steps=12):
    seen = []
    for _ in range(steps):
        optimizer.step()
        seen.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    return seen + scheduler.get_last_lr()


def run(rng):
    found = {}
    for name, settings in [
        ("StepLR", dict(step_size=3, gamma=0.1)),
        ("MultiStepLR", dict(milestones=[3, 8], gamma=0.5)),
        ("ExponentialLR", dict(gamma=0.9)),
        ("ConstantLR", dict(factor=0.5, total_iters=4)),
        ("LinearLR", dict(start_factor=0.1, total_iters=5)),
        ("PolynomialLR", dict(total_iters=10, power=2.0)),
        ("CosineAnnealingLR", dict(T_max=6, eta_min=1e-4)),
        ("CosineAnnealingWarmRestarts", dict(T_0=4, T_mult=2)),
        ("CyclicLR", dict(base_lr=0.01, max_lr=0.1, step_size_up=3, mode="triangular2")),
        ("OneCycleLR", dict(max_lr=0.2, total_steps=14)),
        ("LambdaLR", dict(lr_lambda=lambda epoch: 0.95**epoch)),
        ("MultiplicativeLR", dict(lr_lambda=lambda epoch: 0.9)),
    ]:
        optimizer = make()
        scheduler = getattr(lr_scheduler, name)(optimizer, **settings)
        found[name] = rates(optimizer, scheduler)
        found[name].append(optimizer.param_groups[0]["momentum"])
    optimizer = make()
    warm = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=4)
    decay = lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    both = lr_scheduler.SequentialLR(optimizer, schedulers=[warm, decay], milestones=[4])
    found["sequential"] = rates(optimizer, both)
    optimizer = make()
    chained = lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    )
    found["chained"] = rates(optimizer, chained)
    optimizer = Adam([torch.nn.Parameter(torch.zeros(2))], lr=1e-2)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.1, patience=1)
    found["plateau"] = []
    for loss in [1.0, 0.9, 0.95, 0.96, 0.97, 0.5, 0.6, 0.6, 0.6]:
        plateau.step(loss)
        found["plateau"].append(optimizer.param_groups[0]["lr"])
    for g in optimizer.param_groups:
        g["lr"] = 3e-3
    found["set"] = optimizer.param_groups[0]["lr"]
    return found
