"""Warm-up: WarmupCosineLR, and LinearScalingLR for large batches."""

from __future__ import annotations

import math

from distgrad.errors import ShapeError
from distgrad.kinds import Steps, Times
from distgrad.optim.optimizer import Optimizer
from distgrad.optim.schedule import LRScheduler


class WarmupCosineLR(LRScheduler):
    """Linear warm-up, then half a cosine down to ``min_factor`` of the base, then constant.

    Step 0 has 1 / (warmup + 1) of the base (never 0), as nanoGPT's schedule.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: Times,
        total_steps: Steps,
        min_factor: float = 0.0,
    ) -> None:
        if warmup_steps >= total_steps:
            raise ShapeError(
                f"WarmupCosineLR: warmup_steps={warmup_steps} must be below "
                f"total_steps={total_steps}"
            )
        self.warmup_steps, self.total_steps, self.min_factor = warmup_steps, total_steps, min_factor
        super().__init__(optimizer)

    def lr(self, step: int, base: float) -> float:
        """Return the schedule's value."""
        if step < self.warmup_steps:
            return base * (step + 1) / (self.warmup_steps + 1)
        done = min((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1.0)
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return base * (self.min_factor + (1 - self.min_factor) * cosine)


class LinearScalingLR(LRScheduler):
    """The base times k for a batch k times larger, after a gradual warm-up (Goyal et al. 2017).

    The base is the learning rate that is right for ``base_batch_size``; it rises in a straight
    line to base x (batch_size / base_batch_size) ^ ``power`` in ``warmup_steps`` steps (the paper:
    five epochs), then stays. For what follows put it before others in a ChainedScheduler.

    ``power=1`` is the rule of SGD with momentum; 0.5, the square root, is usual for Adam. It fails
    where the batch is larger than the gradient's noise calls for (ImageNet: above 8,192 images):
    then the loss diverges or generalises worse, and LARS or LAMB, or a smaller power, go further.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        batch_size: Steps,
        base_batch_size: Steps = 256,
        warmup_steps: Times = 0,
        power: float = 1.0,
    ) -> None:
        self.scale = float((batch_size / base_batch_size) ** power)
        self.warmup_steps = warmup_steps
        super().__init__(optimizer)

    def lr(self, step: int, base: float) -> float:
        """Return the point between the base and its multiple."""
        done = min(step / self.warmup_steps, 1.0) if self.warmup_steps else 1.0
        return base * (1 + (self.scale - 1) * done)
