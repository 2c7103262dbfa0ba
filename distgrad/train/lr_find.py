"""The learning-rate range test: losses while the rate grows (Smith 2017, section 3.3)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from distgrad.data import Batch, DataLoader
from distgrad.errors import DistgradError, NonFiniteError
from distgrad.observe import Progress
from distgrad.observe.figure import new_figure
from distgrad.optim import Optimizer
from distgrad.train.parts import Parts
from distgrad.train.state import TrainState

_SMOOTHING = 0.98
_BEGINNING, _END = 10, 1  # steps that tell nothing: the mean is not settled, the loss explodes


@dataclass(frozen=True)
class LRFind:
    """What the test saw, equal on all ranks: each step's rate, and its loss, smoothed."""

    lr: Sequence[float]
    loss: Sequence[float]

    def suggestion(self) -> float:
        """Return the rate where the loss falls fastest, a good one to begin with.

        Errors: DistgradError if it falls nowhere.
        """
        losses = np.asarray(self.loss[_BEGINNING : len(self.loss) - _END])
        slopes = np.gradient(losses) if len(losses) > 1 else losses[:0]
        if not slopes.size or not slopes.min() < 0:
            raise DistgradError(
                f"the loss falls at no rate from {self.lr[0]:g} to {self.lr[-1]:g} (of "
                f"{len(self.lr)} steps): try other limits, or more steps"
            )
        return self.lr[_BEGINNING + int(slopes.argmin())]

    def plot(self, path: str) -> None:
        """Draw loss over rate into a file. Errors: DistgradError without matplotlib."""
        figure = new_figure("the plot of a learning-rate range test", 6, 4)
        axes = figure.add_subplot()
        axes.semilogx(self.lr, self.loss)
        try:
            rate = self.suggestion()
        except DistgradError:
            axes.set_title("the loss falls at no rate")
        else:
            axes.axvline(rate, linestyle=":", color="black")
            axes.set_title(f"falls fastest at {rate:.2g}")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss (smoothed)")
        figure.savefig(path)


def lr_find(
    step: Callable[[Batch], None],
    optimizer: Optimizer,
    state: TrainState,
    loader: DataLoader,
    parts: Parts,
    progress: Progress,
    *,
    min_lr: float,
    max_lr: float,
    num_training: int,
    early_stop_threshold: float,
) -> LRFind:
    """Train by ``step``, which leaves the rate alone and its loss in ``state``; undo it all."""
    if not min_lr < max_lr:
        raise DistgradError(f"lr_find: min_lr={min_lr:g} must be below max_lr={max_lr:g}")
    rates = np.geomspace(min_lr, max_lr, num_training).tolist()
    losses: list[float] = []
    mean = 0.0
    with _put_back(parts, state), progress:
        groups = optimizer.param_groups
        # Groups keep their ratio; the first one has the rate that is told.
        ratios = [group["lr"] / groups[0]["lr"] if groups[0]["lr"] else 1.0 for group in groups]
        batches = _endless(loader)
        for count, rate in enumerate(rates, 1):
            for group, ratio in zip(groups, ratios, strict=True):
                group["lr"] = rate * ratio
            try:
                step(next(batches))
            except NonFiniteError:  # on all ranks
                break
            mean = _SMOOTHING * mean + (1 - _SMOOTHING) * state.loss
            smoothed = mean / (1 - _SMOOTHING**count)
            if not math.isfinite(smoothed):
                break
            losses.append(smoothed)
            progress.step(0, {"loss": state.loss, "learning_rate": rate})
            if smoothed > early_stop_threshold * abs(min(losses)) and count > 1:
                break
    return LRFind(rates[: len(losses)], losses)


def _endless(loader: DataLoader) -> Iterator[Batch]:
    while True:
        yield from loader.batches()


@contextmanager
def _put_back(parts: Parts, state: TrainState) -> Iterator[None]:
    """Undo what steps inside change. Collective."""
    states = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    numbers = copy.deepcopy(vars(state))
    try:
        yield
    finally:
        for name, part in parts.items():
            part.load_state_dict(states[name])
        vars(state).update(numbers)
