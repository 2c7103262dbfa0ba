"""What a Trainer writes into its run folder: of each step, of evaluations, of itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

from distgrad.data import DataLoader
from distgrad.errors import DistgradError
from distgrad.nn import Module
from distgrad.observe import GradientHealth, Run, TimeSplit
from distgrad.observe.run.layout import COLUMNS, VALIDATION
from distgrad.optim import LRScheduler, Optimizer, ReduceLROnPlateau
from distgrad.parallel import DistributedDataParallel, World
from distgrad.parallel.agreement import settings_of
from distgrad.train.clock import Clock
from distgrad.train.monitor import Monitor
from distgrad.train.signals import STOPS
from distgrad.train.state import TrainState

_OWN = ("loss", "gradient_norm", "learning_rate", "samples_per_second", "skipped")


class Training(Protocol):
    """What a Trainer has that its record tells of."""

    model: Module
    optimizer: Optimizer
    schedule: LRScheduler | ReduceLROnPlateau | None
    loss_fn: Any
    clip_norm: Any
    best: Monitor | None
    state: TrainState
    run: Run | None
    log_every: int
    callbacks: list[Callable[[TrainState], None]]
    ddp: DistributedDataParallel
    world: World


def record_of(
    training: Training, loader: DataLoader, total: int | None, resume: bool
) -> Record | None:
    """Return what tells the training's run folder of a fit; None if it has none."""
    run = training.run
    if run is None:
        return None
    run.resume |= resume
    run.configure(trainer=described(training, loader, total))
    every, callbacks = training.log_every, training.callbacks
    return Record(run, training.state, every=every, total=total, callbacks=callbacks)


class Record:
    """Tells ``run`` of a training's steps, every ``every``-th one, the first and the last.

    ``total`` is how many steps there will be at most. ``callbacks`` that are a GradientHealth are
    followed.
    """

    def __init__(
        self,
        run: Run,
        state: TrainState,
        *,
        every: int,
        total: int | None,
        callbacks: Iterable[Callable[[TrainState], None]],
    ) -> None:
        self.run, self._state, self._every, self._total = run, state, every, total
        self._healths = [c for c in callbacks if isinstance(c, GradientHealth)]
        self._due = state.step + 1  # the first one, whatever its number
        self._last: tuple[int, int, dict[str, float]] | None = None
        self._clock = Clock()
        self._samples, self._busy = 0, 0.0  # when the last line was logged

    @contextmanager
    def following(self, split: TimeSplit | None) -> Iterator[None]:
        """Make the steps inside a part of the run, or of the part that the user has begun."""
        run = self.run
        sources: list[TimeSplit | GradientHealth] = [*self._healths]
        sources += [] if split is None else [split]
        run.begins(self._state.step, self._total)
        with nullcontext() if run.inside else run:
            for source in sources:
                run.follow(source)
            try:
                yield
            finally:
                self._log_last()
            run.ended_by = self._state.stopped
            run.hurried = run.ended_by in STOPS.values()  # somebody waits, or the time is up

    def step(self, state: TrainState, clock: Clock) -> None:
        """Hear of a step, and by which clock."""
        self._clock = clock
        numbers = {
            "loss": state.loss,
            "gradient_norm": state.gradient_norm,
            "learning_rate": state.learning_rate,
            **state.metrics,
        }
        if state.skipped:
            numbers["skipped"] = state.skipped
        self._last = state.step, state.epoch, numbers
        if state.step >= self._due:
            self._log_last()

    def evaluated(self, state: TrainState) -> None:
        """Hear of an evaluation within the training."""
        found = {VALIDATION + name: value for name, value in state.evaluation.items()}
        self.run.log(state.step, found, epoch=state.epoch)
        self.run.flush()

    def _log_last(self) -> None:
        if self._last is not None:
            step, epoch, numbers = self._last
            numbers["samples_per_second"] = self._rate()
            self.run.log(step, numbers, epoch=epoch)
            self._last, self._due = None, step - step % self._every + self._every

    def _rate(self) -> float:
        """Return samples/s since the last line, evaluations and checkpoints left out."""
        samples, busy = self._clock.samples, self._clock.seconds - self._clock.lost
        rate = (samples - self._samples) / max(busy - self._busy, 1e-9)
        self._samples, self._busy = samples, busy
        return rate


def check_names(metrics: Mapping[str, object]) -> None:
    """Raise DistgradError for a metric with a name that a run folder has for something else."""
    for name in metrics:
        if name in _OWN or name in COLUMNS:
            raise DistgradError(
                f"metrics={{{name!r}: …}} has a name that the run folder uses for something else "
                f"({', '.join((*COLUMNS, *_OWN))}): choose another"
            )


def described(training: Training, loader: DataLoader, total: int | None) -> dict[str, Any]:
    """Return what a training is made of, as settings: names and numbers."""
    kind = type(training.optimizer).__name__
    before, settings = f"optimizer 0 ({kind}), group 0, ", settings_of(0, training.optimizer)
    group = {k.removeprefix(before): v for k, v in settings.items() if k.startswith(before)}
    start = group.pop("initial_lr", None)  # a schedule has changed "lr" by now
    world, best = training.world, training.best
    return {
        "model": type(training.model).__name__,
        "optimizer": {"name": kind, **group} | ({} if start is None else {"lr": start}),
        "schedule": None if training.schedule is None else type(training.schedule).__name__,
        "loss_fn": _named(training.loss_fn),
        "clip_norm": _named(training.clip_norm),
        "best": None if best is None else {"name": best.name, "mode": best.mode or "min"},
        "global_batch_size": loader.global_batch_size,
        "shuffle": loader.shuffle,
        "seed": loader.seed,
        "shards": world.shards if world.canonical else None,
        "zero": training.ddp.zero,
        "total_steps": total,
    }


def learning_rate(optimizer: Optimizer) -> float:
    """Return that of the first group; NaN where it has none."""
    rate = optimizer.param_groups[0].get("lr")
    return math.nan if rate is None else float(rate)


def _named(value: object) -> object:
    """Return numbers and words as they are, everything else by its name or that of its type."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__qualname__", type(value).__name__)
