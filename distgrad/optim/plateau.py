"""ReduceLROnPlateau: the one schedule that follows a metric instead of the step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from distgrad.autograd.apart import apart
from distgrad.errors import ShapeError
from distgrad.optim.optimizer import Optimizer
from distgrad.optim.own_state import state_of
from distgrad.optim.schedule import per_group, set_lr


class ReduceLROnPlateau:
    """Times ``factor`` when a metric has not become better for more than ``patience`` steps.

    Call ``step(metric)`` after each evaluation, on every rank with the same metric (that of
    ``Trainer.evaluate`` is). Better is less than the best so far, or more with ``mode="max"``, by
    the ``threshold``, which is relative or absolute. After a reduction bad steps do not count for
    ``cooldown`` steps; no rate falls below ``min_lr``, nor by less than ``eps``. The learning
    rates themselves are saved with the optimizer.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not factor < 1:
            raise ShapeError(f"ReduceLROnPlateau: factor={factor} must be below 1")
        self.optimizer = optimizer
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.min_lrs = per_group(optimizer, "min_lr", min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0

    @property
    def in_cooldown(self) -> bool:
        """Whether bad steps do not count yet, after a reduction."""
        return self.cooldown_counter > 0

    @apart
    def step(self, metrics: float, epoch: int | None = None) -> None:
        """Take note of the metric and reduce the learning rates if it has not become better.

        ``epoch`` renumbers the step, which PyTorch advises against and so warns of.
        """
        try:
            metric = float(metrics)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"ReduceLROnPlateau.step takes the metric it follows, a number; got {metrics!r}"
            ) from error
        if epoch is not None:
            warnings.warn("ReduceLROnPlateau.step: leave epoch out", UserWarning, stacklevel=2)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(metric):
            self.best = metric
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group."""
        return [float(g["lr"]) for g in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the best metric and the counters."""
        names = ("best", "last_epoch", "num_bad_epochs", "cooldown_counter")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        state_of("ReduceLROnPlateau", state, *self.state_dict())
        self.best = float(state["best"])
        self.last_epoch = int(state["last_epoch"])
        self.num_bad_epochs = int(state["num_bad_epochs"])
        self.cooldown_counter = int(state["cooldown_counter"])

    def _is_better(self, metric: float) -> bool:
        margin = self.threshold if self.mode == "max" else -self.threshold
        limit = self.best * (1 + margin) if self.threshold_mode == "rel" else self.best + margin
        return metric > limit if self.mode == "max" else metric < limit

    def _reduce(self) -> None:
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            before = float(group["lr"])
            lr = max(before * self.factor, least)
            if before - lr > self.eps:
                set_lr(group, lr)
