"""From run folders to what the page shows: numbers and sentences, no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import DistgradError
from distgrad.files import shown
from distgrad.observe.report.curves import Figure, figures
from distgrad.observe.report.gradients import HeatMap, heat_map, problems
from distgrad.observe.report.measured import Series, measured
from distgrad.observe.report.sample import rounded, thinned
from distgrad.observe.report.times import TimeGroup, time_groups
from distgrad.observe.run import RunRecord

_CLOCK = 1000  # places at which a run's time and epoch are known


@dataclass(frozen=True)
class Clock:
    """Which time and which epoch each step was at; between these, in a straight line."""

    steps: list[int]
    seconds: list[float]
    """Of training, without pauses between parts and without what was done again."""
    epochs: list[float]
    """Epochs done; [] if there are fewer than two, or the training counts none."""


@dataclass(frozen=True)
class Run:
    """One run of the page."""

    record: RunRecord
    name: str
    """As the page calls it: no two runs have the same."""
    measured: Mapping[str, Series]
    clock: Clock
    heat: HeatMap | None
    problems: list[str]
    times: list[TimeGroup]

    @property
    def resumed(self) -> list[int]:
        """The steps at which it was resumed."""
        firsts = [part.first_step for part in self.record.parts[1:]]
        return [first for first in firsts if first is not None]

    @property
    def hash(self) -> str | None:
        """That of the parameters at the end; None if the newest part has not come to one."""
        return self.record.parts[-1].hash if self.record.parts else None


@dataclass(frozen=True)
class Report:
    """All that the page shows."""

    runs: list[Run]
    figures: list[Figure]

    @property
    def equal_hashes(self) -> list[list[str]]:
        """The names of runs whose parameters have the same bits at the end, by hash."""
        found: dict[str, list[str]] = {}
        for run in self.runs:
            if run.hash is not None:
                found.setdefault(run.hash, []).append(run.name)
        return [names for names in found.values() if len(names) > 1]


def gather(records: Sequence[RunRecord]) -> Report:
    """Return what the page of these runs shows. Errors: DistgradError for no run, or one twice."""
    if not records:
        raise DistgradError("a report is of at least one run folder")
    folders = [record.folder.resolve() for record in records]
    for i, folder in enumerate(folders):
        if folder in folders[:i]:
            raise DistgradError(f"{shown(records[i].folder)} is given twice: name each run once")
    runs = [_run(record, name) for record, name in zip(records, _names(records), strict=True)]
    return Report(runs, figures([(run.name, run.measured) for run in runs]))


def _run(record: RunRecord, name: str) -> Run:
    return Run(
        record=record,
        name=name,
        measured=measured(record),
        clock=_clock(record),
        heat=heat_map(record),
        problems=problems(record.health),
        times=time_groups(record.time, record.parts),
    )


def _names(records: Sequence[RunRecord]) -> list[str]:
    """Return the runs' own names where these differ, and their folders otherwise."""
    own = [record.name for record in records]
    return [
        name if own.count(name) == 1 else str(record.folder)
        for name, record in zip(own, records, strict=True)
    ]


# -- time and epochs ------------------------------------------------------------------------------


def _clock(record: RunRecord) -> Clock:
    steps, seconds = _seconds(record)
    if not len(steps):
        return Clock([], [], [])
    kept = thinned(len(steps), _CLOCK)
    changes = _epochs(record)
    epochs = rounded(np.interp(steps[kept], *changes)) if changes else []
    return Clock([int(s) for s in steps[kept]], rounded(seconds[kept]), epochs)


def _seconds(record: RunRecord) -> tuple[Array, Array]:
    """Return all steps with a row, and the seconds of training by then, over all parts."""
    found: dict[int, float] = {}
    part, before, latest = -1, 0.0, 0.0
    for row in record.metrics:
        if row["part"] > part:  # rows come by step, parts with them
            part, before = row["part"], latest
        latest = max(latest, before + row["seconds"])
        found[row["step"]] = latest
    return np.array([*found], np.int64), np.array([*found.values()], np.float64)


def _epochs(record: RunRecord) -> tuple[list[int], list[float]] | None:
    """Return steps, and how many epochs were done then."""
    starts: dict[int, int] = {}  # of each epoch, its first row's step
    for row in record.metrics:
        if "epoch" in row:
            starts.setdefault(int(row["epoch"]), row["step"])
    epochs, steps = [*starts], [*starts.values()]
    if len(epochs) < 2:
        return None
    length = steps[-1] - steps[-2]
    last = record.metrics[-1]["step"]
    done = epochs[-1] + min(1.0, (last - steps[-1]) / max(1, length))
    return [*steps, last], [*map(float, epochs), done]
