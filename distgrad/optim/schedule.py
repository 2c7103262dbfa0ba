"""Learning-rate schedules: PyTorch's names, as closed forms of the step number.

A schedule's only state is its step, so a resumed run continues it exactly.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distgrad.errors import ShapeError
from distgrad.optim.optimizer import Optimizer


class LRScheduler(ABC):
    """Sets ``lr`` of every group to ``lr(step, its base)``; call ``step()`` every step."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base_lrs = [float(g["lr"]) for g in optimizer.param_groups]
        self.last_epoch = 0
        self._apply()

    @abstractmethod
    def lr(self, step: int, base: float) -> float:
        """Return the learning rate at ``step`` (0 is the first) for the base learning rate."""

    def step(self) -> None:
        """Advance by one step."""
        self.last_epoch += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group."""
        return [float(g["lr"]) for g in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the base learning rates."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``. Errors: ShapeError if it has other groups."""
        if len(state["base_lrs"]) != len(self.base_lrs):
            raise ShapeError(
                f"the schedule was saved with {len(state['base_lrs'])} parameter groups, the "
                f"optimizer has {len(self.base_lrs)}; make it with the same groups"
            )
        self.last_epoch = int(state["last_epoch"])
        self.base_lrs = [float(x) for x in state["base_lrs"]]
        self._apply()

    def _apply(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.lr(self.last_epoch, base)


class LambdaLR(LRScheduler):
    """lr = base x lr_lambda(step)."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def lr(self, step: int, base: float) -> float:
        """Return base x lr_lambda(step)."""
        return base * self.lr_lambda(step)


class LinearLR(LRScheduler):
    """From ``start_factor`` to ``end_factor`` in ``total_iters`` steps: the usual warm-up."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def lr(self, step: int, base: float) -> float:
        """Return the point on the line, or its end past it."""
        done = min(step / self.total_iters, 1.0) if self.total_iters else 1.0
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the base to ``eta_min`` in ``T_max`` steps (Loshchilov & Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        if T_max < 1:
            raise ShapeError(f"CosineAnnealingLR: T_max={T_max} must be at least 1 step")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def lr(self, step: int, base: float) -> float:
        """Return the cosine's value; past ``T_max`` it rises again, as in PyTorch."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.T_max))
        return self.eta_min + (base - self.eta_min) * cosine


class WarmupCosineLR(LRScheduler):
    """Linear warm-up, then half a cosine down to ``min_factor`` of the base, then constant.

    Step 0 has 1 / (warmup + 1) of the base (never 0), as nanoGPT's schedule.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        total_steps: int,
        min_factor: float = 0.0,
    ) -> None:
        if not 0 <= warmup_steps < max(total_steps, 1):
            raise ShapeError(
                f"WarmupCosineLR: warmup_steps={warmup_steps} must be 0 or more and below "
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


class SequentialLR(LRScheduler):
    """Schedules one after the other: the next begins at each milestone, counting from its start."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise ShapeError(
                f"SequentialLR: {len(schedulers)} schedules need {len(schedulers) - 1} milestones; "
                f"got {len(milestones)}"
            )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        # Each schedule has scaled the optimizer's lr when it was made: the first knows the base.
        base = self.schedulers[0].base_lrs
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = lr
        super().__init__(optimizer)

    def lr(self, step: int, base: float) -> float:
        """Return the value of the schedule in force, for this schedule's own base."""
        i = sum(step >= m for m in self.milestones)
        return self.schedulers[i].lr(step - (self.milestones[i - 1] if i else 0), base)
