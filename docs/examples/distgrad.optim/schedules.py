"""Examples of distgrad.optim: schedules. Each is shown by its first learning rates, of base 1."""

import distgrad as dg
from distgrad import optim


def optimizer(**settings):
    return optim.SGD([dg.ones(1, requires_grad=True)], lr=1.0, **settings)


def rates(schedule, steps=8, *arguments):
    """The learning rates of the first steps."""
    found = []
    for _ in range(steps):
        found.append(round(schedule.optimizer.param_groups[0]["lr"], 4))
        schedule.optimizer.step()
        schedule.step(*arguments)
    return found


# Examples

# ChainedScheduler
o = optimizer()
rates(optim.ChainedScheduler([optim.LinearLR(o, 0.5), optim.StepLR(o, 4, gamma=0.1)]))

# ConstantLR
rates(optim.ConstantLR(optimizer(), factor=0.1, total_iters=3))

# CosineAnnealingLR
rates(optim.CosineAnnealingLR(optimizer(), T_max=6))

# CosineAnnealingWarmRestarts
rates(optim.CosineAnnealingWarmRestarts(optimizer(), T_0=3))

# CyclicLR
rates(optim.CyclicLR(optimizer(momentum=0.9), base_lr=0.1, max_lr=0.5, step_size_up=2))

# ExponentialLR
rates(optim.ExponentialLR(optimizer(), gamma=0.9))


# LRScheduler: a schedule of one's own, from the base and the step
class InverseSquareRoot(optim.LRScheduler):
    def lr(self, step, base):
        return base * (1 + step) ** -0.5


rates(InverseSquareRoot(optimizer()))

# LambdaLR
rates(optim.LambdaLR(optimizer(), lambda step: 1 / (1 + step)))

# LinearLR
rates(optim.LinearLR(optimizer(), start_factor=0.2, total_iters=4))

# LinearScalingLR
rates(optim.LinearScalingLR(optimizer(), batch_size=1024, base_batch_size=256, warmup_steps=4))

# MultiStepLR
rates(optim.MultiStepLR(optimizer(), milestones=[2, 5]))

# MultiplicativeLR
rates(optim.MultiplicativeLR(optimizer(), lambda step: 0.5))

# OneCycleLR
rates(optim.OneCycleLR(optimizer(momentum=0.9), max_lr=1.0, total_steps=9))

# PolynomialLR
rates(optim.PolynomialLR(optimizer(), total_iters=4, power=2.0))

# ReduceLROnPlateau: the metric stays at 1
rates(optim.ReduceLROnPlateau(optimizer(), patience=2), 8, 1.0)

# SWALR
rates(optim.SWALR(optimizer(), swa_lr=0.1, anneal_epochs=4))

# SequentialLR
o = optimizer()
rates(
    optim.SequentialLR(o, [optim.LinearLR(o, 0.2, total_iters=3), optim.ExponentialLR(o, 0.5)], [3])
)

# StepLR
rates(optim.StepLR(optimizer(), step_size=3))

# WarmupCosineLR
rates(optim.WarmupCosineLR(optimizer(), warmup_steps=3, total_steps=8))
