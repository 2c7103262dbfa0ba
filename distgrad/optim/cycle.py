"""Schedules that rise and fall: restarts, cycles, one cycle; and SWA's constant after a slope."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from distgrad.autograd.apart import apart
from distgrad.errors import ShapeError
from distgrad.kinds import Fraction, Steps, Times
from distgrad.optim.optimizer import Optimizer
from distgrad.optim.own_state import state_of
from distgrad.optim.schedule import LRScheduler, per_group, set_lr

Floats = float | Sequence[float]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines of T_0, T_0 T_mult, T_0 T_mult² … steps (Loshchilov & Hutter 2017)."""

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: Steps,
        T_mult: Steps = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        self.fraction = 0.0  # of a step, beyond last_epoch
        super().__init__(optimizer, last_epoch)

    @apart
    def step(self, epoch: float | None = None) -> None:
        """Advance by one step, or to ``epoch``, which may lie between two: epoch + i / batches.

        Errors: ShapeError for one below 0.
        """
        if epoch is None:
            super().step()
            return
        if epoch < 0:
            raise ShapeError(f"{type(self).__name__}.step: epoch={epoch} must be 0 or more")
        self.last_epoch = math.floor(epoch)
        self.fraction = epoch - self.last_epoch
        self._apply()

    def get_lr(self) -> list[float]:
        """Return the learning rate of each group at the present point between two steps."""
        return [self.lr(self.last_epoch + self.fraction, base) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the step, what is beyond it, and the base learning rates."""
        return super().state_dict() | {"fraction": self.fraction}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``, also of PyTorch's. Errors: as ``LRScheduler``."""
        state_of(type(self).__name__, state, "base_lrs", "last_epoch")
        self.fraction = float(state.get("fraction", state.get("T_cur", 0.0) % 1))
        super().load_state_dict(state)

    def lr(self, step: float, base: float) -> float:
        """Return the cosine's value since the last restart."""
        length = self.T_0
        if self.T_mult == 1:
            step %= length
        while step >= length:
            step -= length
            length *= self.T_mult
        return _cosine(base, self.eta_min, step / length)


class CyclicLR(LRScheduler):
    """Between ``base_lr`` and ``max_lr`` and back, in cycles (Smith 2017).

    ``mode`` scales the cycles' heights: "triangular" keeps them, "triangular2" halves each,
    "exp_range" multiplies by ``gamma`` every step; or give ``scale_fn`` of the cycle (from 1) or
    of the step, as ``scale_mode`` says. The momentum (or first beta) runs the other way, from
    ``max_momentum`` to ``base_momentum``, if ``cycle_momentum``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Floats,
        max_lr: Floats,
        step_size_up: Steps = 2000,
        step_size_down: Steps | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Floats = 0.8,
        max_momentum: Floats = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self.up = step_size_up
        self.total = step_size_up + (step_size_up if step_size_down is None else step_size_down)
        self.mode, self.gamma, self.scale_fn, self.scale_mode = mode, gamma, scale_fn, scale_mode
        self.low_lrs = per_group(optimizer, "base_lr", base_lr)
        self.max_lrs = per_group(optimizer, "max_lr", max_lr)
        self._momenta = _momenta(optimizer, cycle_momentum, base_momentum, max_momentum)
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, self.low_lrs, strict=True):
                set_lr(group, low)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = list(self.low_lrs)

    def lrs(self, step: int, bases: Sequence[float]) -> list[float]:
        """Return the point of the cycle, between the schedule's own ends."""
        h = self._height(step)
        return [b + (m - b) * h for b, m in zip(self.low_lrs, self.max_lrs, strict=True)]

    def momenta(self, step: int) -> list[float] | None:
        """Return the momenta, highest where the learning rate is lowest."""
        h = self._height(step)
        if self._momenta is None:
            return None
        return [high - (high - low) * h for low, high in self._momenta]

    def _height(self, step: int) -> float:
        cycle, place = divmod(step, self.total)
        x = place / self.up if place <= self.up else (self.total - place) / (self.total - self.up)
        if self.scale_fn is not None:
            return x * self.scale_fn(cycle + 1 if self.scale_mode == "cycle" else step)
        scales = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": self.gamma**step}
        return float(x * scales[self.mode])


class OneCycleLR(LRScheduler):
    """Up to ``max_lr`` and down to next to nothing, in one cycle (Smith & Topin 2018).

    It starts from max_lr / ``div_factor``, is highest at ``pct_start`` of the steps and ends at
    the start / ``final_div_factor``; with ``three_phase`` it comes back to the start in between.
    The momentum (or first beta) runs the other way if ``cycle_momentum``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Floats,
        total_steps: Steps | None = None,
        epochs: Steps | None = None,
        steps_per_epoch: Steps | None = None,
        pct_start: Fraction = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: Floats = 0.85,
        max_momentum: Floats = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None and epochs is not None and steps_per_epoch is not None:
            total_steps = epochs * steps_per_epoch
        if total_steps is None:
            raise ShapeError("OneCycleLR: pass total_steps, or epochs and steps_per_epoch")
        self.total_steps, self.final_div_factor = total_steps, final_div_factor
        self.anneal = _anneal(anneal_strategy)
        self.max_lrs = per_group(optimizer, "max_lr", max_lr)
        self.start_lrs = [m / div_factor for m in self.max_lrs]
        self._momenta = _momenta(optimizer, cycle_momentum, base_momentum, max_momentum)
        # The height (0 start, 1 highest, -1 end) that each phase leads to, and its last step.
        peak = pct_start * total_steps - 1
        back = [(2 * pct_start * total_steps - 2, 0)] if three_phase else []
        self._phases = [(peak, 1), *back, (total_steps - 1.0, -1)]
        if last_epoch == -1:
            for i, group in enumerate(optimizer.param_groups):
                start = self.start_lrs[i]
                ends = {"max_lr": self.max_lrs[i], "min_lr": start / final_div_factor}
                group.update({"initial_lr": start, **ends})
        super().__init__(optimizer, last_epoch)

    def lrs(self, step: int, bases: Sequence[float]) -> list[float]:
        """Return the point of the cycle. Errors: ShapeError past its end."""
        before, after, done = self._phase(step)
        found = []
        for start, top in zip(self.start_lrs, self.max_lrs, strict=True):
            level = {0: start, 1: top, -1: start / self.final_div_factor}
            found.append(self.anneal(level[before], level[after], done))
        return found

    def momenta(self, step: int) -> list[float] | None:
        """Return the momenta, lowest where the learning rate is highest."""
        before, after, done = self._phase(step)
        if self._momenta is None:
            return None
        return [
            self.anneal(low if before == 1 else high, low if after == 1 else high, done)
            for low, high in self._momenta
        ]

    def _phase(self, step: int) -> tuple[int, int, float]:
        """Return the heights the phase leads from and to, and how much of it is done."""
        if step > self.total_steps:
            raise ShapeError(
                f"OneCycleLR: step {step} is past total_steps={self.total_steps}; make it as long "
                f"as the run"
            )
        first, before = 0.0, 0
        for last, after in self._phases:
            if step <= last or after == -1:
                break
            first, before = last, after
        return before, after, (step - first) / (last - first) if last != first else 1.0


class SWALR(LRScheduler):
    """From the learning rate of the moment to ``swa_lr`` in ``anneal_epochs`` steps, then constant.

    For stochastic weight averaging (Izmailov et al. 2018): call ``step()`` from where averaging
    begins; it starts from the rate that another schedule has left.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Floats,
        anneal_epochs: Times = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        self.swa_lrs = per_group(optimizer, "swa_lr", swa_lr)
        self.anneal_epochs = anneal_epochs
        self.anneal = _anneal(anneal_strategy)
        self.begun = last_epoch + 1  # as PyTorch's, it begins anew where it is made
        super().__init__(optimizer, last_epoch)

    @apart
    def step(self, epoch: int | None = None) -> None:
        """Advance by one step; the first one starts from the optimizer's present rates."""
        if self.last_epoch == self.begun:
            self.base_lrs = self.get_last_lr()
        super().step(epoch)

    def get_lr(self) -> list[float]:
        """Return the point between each base and its swa_lr; at first what is found."""
        begins = self.last_epoch == self.begun and self.anneal_epochs > 0
        return self.get_last_lr() if begins else super().get_lr()

    def lrs(self, step: int, bases: Sequence[float]) -> list[float]:
        """Return the point between each base and its swa_lr."""
        step -= self.begun
        done = min(step / self.anneal_epochs, 1.0) if self.anneal_epochs else 1.0
        return [self.anneal(b, s, done) for b, s in zip(bases, self.swa_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return the step, the first step and the base learning rates."""
        return super().state_dict() | {"begun": self.begun}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``. Errors: as ``LRScheduler``."""
        self.begun = int(state.get("begun", 0))
        super().load_state_dict(state)


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _line(start: float, end: float, done: float) -> float:
    return start + (end - start) * done


def _anneal(strategy: str) -> Callable[[float, float, float], float]:
    return _cosine if strategy == "cos" else _line


def _momenta(
    optimizer: Optimizer, wanted: bool, low: Floats, high: Floats
) -> list[tuple[float, float]] | None:
    """Return (lowest, highest) momentum of each group, None if they are not to be cycled."""
    if not wanted:
        return None
    if not {"momentum", "betas"} & set(optimizer.defaults):
        raise ShapeError(
            f"{type(optimizer).__name__} has neither momentum nor betas to cycle; pass "
            f"cycle_momentum=False"
        )
    lows = per_group(optimizer, "base_momentum", low)
    highs = per_group(optimizer, "max_momentum", high)
    return list(zip(lows, highs, strict=True))
