"""Stop criteria. Each reads numbers that are equal on all ranks, so all ranks stop together."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from distgrad.errors import DistgradError
from distgrad.kinds import Decay, Steps, Times
from distgrad.train.monitor import Mode, Monitor
from distgrad.train.parts import Stateful
from distgrad.train.state import TrainState


class StopCriterion(Stateful, Protocol):
    """Decides after every step whether training ends; a checkpoint holds what it remembers."""

    def check(self, state: TrainState) -> str | None:
        """Return the reason to stop, or None to go on."""


class _Memoryless:
    """A criterion that looks at the present only."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take nothing."""


class MaxSteps(_Memoryless):
    """Stop after ``steps`` optimizer steps, counted from the beginning of the run."""

    def __init__(self, steps: Times) -> None:
        self.steps = steps

    def check(self, state: TrainState) -> str | None:
        """Compare the step number."""
        return f"{self.steps} steps" if state.step >= self.steps else None


class MaxEpochs(_Memoryless):
    """Stop after ``epochs`` passes over the data."""

    def __init__(self, epochs: Times) -> None:
        self.epochs = epochs

    def check(self, state: TrainState) -> str | None:
        """Compare the number of completed epochs."""
        return f"{self.epochs} epochs" if state.epoch >= self.epochs else None


class WallTime(_Memoryless):
    """Stop after ``seconds`` of this run, by rank 0's clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def check(self, state: TrainState) -> str | None:
        """Compare the agreed clock."""
        return f"{self.seconds:g} s of wall time" if state.seconds >= self.seconds else None


class TargetMetric(_Memoryless):
    """Stop when the last evaluation's ``name`` reaches ``value`` (from above if ``minimize``)."""

    def __init__(self, name: str, value: float, *, minimize: bool = False) -> None:
        self.name, self.value, self.minimize = name, value, minimize

    def check(self, state: TrainState) -> str | None:
        """Compare the last evaluation."""
        if not state.evaluation:
            return None
        if self.name not in state.evaluation:
            known = ", ".join(sorted(state.evaluation))
            raise DistgradError(f"TargetMetric: no '{self.name}' in the evaluation; it has {known}")
        found = state.evaluation[self.name]
        reached = found <= self.value if self.minimize else found >= self.value
        return f"{self.name} reached {found:.4g}" if reached else None


class EarlyStopping:
    """Stop when an evaluation's ``name`` has not improved in ``patience`` evaluations running.

    ``mode`` "min" or "max" says what an improvement is (for the loss it is "min"), ``min_delta`` by
    how much. ``fit(evaluate_every=)`` says how often there is one. Errors: DistgradError.
    """

    def __init__(
        self,
        name: str = "loss",
        patience: Steps = 3,
        *,
        mode: Mode | None = None,
        min_delta: float = 0.0,
    ) -> None:
        self.name, self.patience = name, patience
        self._monitor = Monitor("EarlyStopping", name, mode, min_delta)
        self._waited = 0

    def check(self, state: TrainState) -> str | None:
        """Look at an evaluation, once."""
        better = self._monitor.look(state)
        if better is not None:
            self._waited = 0 if better else self._waited + 1
        if self._waited < self.patience:
            return None
        best, step = self._monitor.value, self._monitor.step
        return (
            f"{self.name} has not improved in {self._waited} evaluations: {best:.4g} at step {step}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the best evaluation and how many came since."""
        return {"best": self._monitor.state_dict(), "waited": self._waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._monitor.load_state_dict(state["best"])
        self._waited = operator.index(state["waited"])


class LossPlateau:
    """Stop when the smoothed training loss has not fallen by ``min_delta`` for ``patience`` steps.

    Smoothing: an exponential mean of the step losses with factor ``smoothing``.
    """

    def __init__(self, patience: Steps, min_delta: float = 1e-4, smoothing: Decay = 0.98) -> None:
        self.patience, self.min_delta, self.smoothing = patience, min_delta, smoothing
        self._mean: float | None = None
        self._best = float("inf")
        self._best_step = 0

    def check(self, state: TrainState) -> str | None:
        """Follow the loss; one that is not finite (a skipped step's) is left out."""
        if math.isfinite(state.loss):
            old = state.loss if self._mean is None else self._mean
            self._mean = self.smoothing * old + (1 - self.smoothing) * state.loss
            if self._mean < self._best - self.min_delta:
                self._best, self._best_step = self._mean, state.step
        waited = state.step - self._best_step
        return f"no progress for {waited} steps" if waited >= self.patience else None

    def state_dict(self) -> dict[str, Any]:
        """Return the mean, the best one and when it was."""
        return {"mean": self._mean, "best": self._best, "best_step": self._best_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._mean = None if state["mean"] is None else float(state["mean"])
        self._best, self._best_step = float(state["best"]), operator.index(state["best_step"])


class Criteria:
    """The criteria of one ``fit``: what all of them together say, and remember.

    Errors: DistgradError if none is given, or if one looks at evaluations and there are none.
    """

    def __init__(
        self,
        stop: Sequence[StopCriterion],
        *,
        epochs: int | None,
        max_steps: int | None,
        evaluated: bool,
    ) -> None:
        self._all: list[StopCriterion] = list(stop)
        self._all += [MaxEpochs(epochs)] if epochs is not None else []
        self._all += [MaxSteps(max_steps)] if max_steps is not None else []
        for criterion in self._all:
            if isinstance(criterion, TargetMetric | EarlyStopping) and not evaluated:
                what = f"{type(criterion).__name__}('{criterion.name}')"
                raise DistgradError(
                    f"{what} looks at evaluations, and there would be none: pass evaluate=loader "
                    f"to fit"
                )
        if not self._all:
            raise DistgradError("fit would never stop: pass epochs=, max_steps= or stop=[…]")

    def most_steps(self, epoch: int) -> int | None:
        """Return after how many steps it ends at the latest, with ``epoch`` steps in each epoch."""
        limits = [c.steps for c in self._all if isinstance(c, MaxSteps)]
        limits += [c.epochs * epoch for c in self._all if isinstance(c, MaxEpochs)]
        return min(limits, default=None)

    def check(self, state: TrainState) -> str:
        """Return the first reason to stop, or "".

        Every criterion sees every step, even when another one has decided.
        """
        return _first([c.check(state) for c in self._all])

    def check_again(self, state: TrainState) -> str:
        """The same for a step that has been seen: a resumed run may be over already."""
        return _first([c.check(state) for c in self._all if not c.state_dict()])

    def state_dict(self) -> dict[str, Any]:
        """Return what each criterion remembers."""
        return {name: c.state_dict() for name, c in self._named().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let those that were there before continue; others may be new."""
        for name, criterion in self._named().items():
            if name in state:
                criterion.load_state_dict(state[name])

    def _named(self) -> dict[str, StopCriterion]:
        return {f"{i} {type(c).__name__}": c for i, c in enumerate(self._all)}


def _first(reasons: Sequence[str | None]) -> str:
    return next((reason for reason in reasons if reason), "")
