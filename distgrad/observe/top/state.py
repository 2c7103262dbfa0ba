"""The state of a run as of now: what its folder says, and how long ago it said it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from distgrad.errors import DistgradError
from distgrad.observe.report.gradients import problems
from distgrad.observe.report.measured import Series, is_validation, measured
from distgrad.observe.report.times import TimeGroup, time_groups
from distgrad.observe.run import Part, RunRecord
from distgrad.observe.run.layout import VALIDATION

_RECENT = 50  # logged steps that the speed is taken from
_SILENT = 60.0  # seconds without a line after which a run is said to be silent
_INTERVALS = 10  # or so many times what usually lies between two lines, if that is more
_LATELY = 10  # stretches of the time split that count as now


@dataclass(frozen=True)
class Validation:
    """The last result of one validated quantity, and the best one where that is known."""

    name: str
    value: float
    step: int
    best: float | None
    best_step: int | None
    kept: bool
    """Whether the best one's checkpoint is kept: ``Trainer(best=)``."""


@dataclass(frozen=True)
class State:
    """What ``distgrad top`` shows."""

    record: RunRecord
    part: Part
    step: int
    total: int | None
    epoch: int | None
    """Epochs before this one."""
    eta: float | None
    """Seconds; None if nobody knows how many steps there will be, or how fast they are."""
    losses: Sequence[float]
    """All of the run's, by step."""
    validations: Sequence[Validation]
    speed: float | None
    """Samples a second, of late."""
    times: TimeGroup | None
    """Where the time went of late."""
    problems: Sequence[str]
    """Of gradients, in the newest observed step."""
    silent: float | None
    """Seconds since a run that has not ended has written anything, if that is unusually long."""

    @property
    def status(self) -> str:
        """Whether it runs, has ended, or seems not to run any more."""
        if self.part.ended is not None:
            return f"ended: {self.part.ended_by}" if self.part.ended_by else "ended"
        return "running" if self.silent is None else "silent"


def state_of(record: RunRecord, quiet: float) -> State:
    """Return the state of a run that wrote its last line ``quiet`` seconds ago.

    Errors: DistgradError for a run that has not begun.
    """
    if not record.parts:
        raise DistgradError(f"the run in {record.folder} has no part yet: it has not begun")
    part = record.parts[-1]
    # What the newest part has not reached yet was undone by its resume.
    rows = record.metrics
    step = max(rows[-1]["step"] if rows else 0, part.first_step or 0)
    pace = _pace(record)
    left = None if part.total_steps is None else part.total_steps - step
    running = part.ended is None
    series = measured(record)
    unusual = max(_SILENT, _INTERVALS * _interval(record))
    return State(
        record=record,
        part=part,
        step=step,
        total=part.total_steps,
        epoch=_epoch(record),
        eta=pace * left if running and pace is not None and left is not None else None,
        losses=series["loss"].values.tolist() if "loss" in series else [],
        validations=_validations(series),
        speed=_speed(series.get("samples_per_second")),
        times=_times(record),
        problems=_problems(record),
        silent=quiet if running and quiet > unusual else None,
    )


def _epoch(record: RunRecord) -> int | None:
    """Return the epoch of the newest step; an evaluation's line may have the next one already."""
    steps = (row for row in reversed(record.metrics) if not any(map(is_validation, row)))
    return next((int(row["epoch"]) for row in steps if "epoch" in row), None)


def _recent(record: RunRecord) -> list[dict[str, float]]:
    """Return the newest lines of the newest part."""
    newest = len(record.parts) - 1
    return [row for row in record.metrics[-2 * _RECENT :] if row["part"] == newest]


def _pace(record: RunRecord) -> float | None:
    """Return the seconds that a step takes of late."""
    rows = _recent(record)
    if not rows or rows[-1]["step"] == rows[0]["step"]:
        return None
    return (rows[-1]["seconds"] - rows[0]["seconds"]) / (rows[-1]["step"] - rows[0]["step"])


def _interval(record: RunRecord) -> float:
    """Return the longest time between two of the newest lines."""
    seconds = [row["seconds"] for row in _recent(record)]
    return max((b - a for a, b in pairwise(seconds)), default=0.0)


def _speed(series: Series | None) -> float | None:
    return None if series is None else float(np.median(series.values[-_RECENT:]))


def _validations(series: Mapping[str, Series]) -> list[Validation]:
    found = []
    for full, those in series.items():
        if not is_validation(full):
            continue
        name = full.removeprefix(VALIDATION)
        best = those.best
        found.append(
            Validation(
                name=name,
                value=float(those.values[-1]),
                step=int(those.steps[-1]),
                best=None if best is None else float(those.values[best]),
                best_step=None if best is None else int(those.steps[best]),
                kept=those.chosen,
            )
        )
    return found


def _times(record: RunRecord) -> TimeGroup | None:
    newest = len(record.parts) - 1
    lately = [row for row in record.time[-_LATELY:] if row["part"] == newest]
    groups = time_groups(lately, record.parts)
    return groups[-1] if groups else None


def _problems(record: RunRecord) -> list[str]:
    return problems(record.health[-1:])
