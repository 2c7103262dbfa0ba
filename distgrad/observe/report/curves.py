"""What was measured over the steps, as figures: which curves share one, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distgrad.observe.report.measured import Series, is_validation
from distgrad.observe.report.sample import Points, in_buckets
from distgrad.observe.report.words import spell_number
from distgrad.observe.run.layout import VALIDATION

TITLES = {
    "loss": "Loss",
    "gradient_norm": "Gradient norm",
    "learning_rate": "Learning rate",
    "samples_per_second": "Samples per second",
}
"""Of what the Trainer measures itself; anything else is called as the user calls it."""

_SMOOTH = ("learning_rate",)  # what is set, and not measured
_POINTS = 60_000  # of all curves of the page: about 2.5 MB
_LEAST, _MOST = 500, 10_000  # of one curve
_ORDERS = 1e3  # the largest value over the smallest, from which on the y axis is logarithmic


@dataclass(frozen=True)
class Curve:
    """One series of one run."""

    run: int
    name: str
    validation: bool
    alone: bool
    """Whether its figure has curves of this kind only, of training or of validation."""
    noisy: bool
    """Whether it is of single batches, so that means over some steps say more."""
    points: Points
    best: tuple[int, float] | None
    """Step and value of the result whose checkpoint is kept as the best: ``Trainer(best=)``."""


@dataclass(frozen=True)
class Figure:
    """The curves of one quantity, of all runs: those of training and those of validation."""

    name: str
    title: str
    curves: list[Curve]
    log: bool
    """Whether its y axis is logarithmic to begin with."""
    words: str
    """What can be seen, for those who cannot see it."""


def figures(runs: Sequence[tuple[str, Mapping[str, Series]]]) -> list[Figure]:
    """Return the figures of runs, by name and what they measured.

    The loss comes first, then the user's metrics, then the Trainer's own.
    """
    found = dict.fromkeys(name.removeprefix(VALIDATION) for _, series in runs for name in series)
    own = [name for name in TITLES if name in found]
    users = [name for name in found if name not in TITLES]
    order = [*own[:1], *users, *own[1:]] if "loss" in found else [*users, *own]
    count = sum(len(series) for _, series in runs)
    most = min(_MOST, max(_LEAST, _POINTS // max(1, count)))
    return [_figure(runs, name, most) for name in order]


def _figure(runs: Sequence[tuple[str, Mapping[str, Series]]], name: str, most: int) -> Figure:
    found = [
        (run, series[full], is_validation(full))
        for run, (_, series) in enumerate(runs)
        for full in (name, VALIDATION + name)
        if full in series
    ]
    alone = len({validation for _, _, validation in found}) == 1
    curves = [
        Curve(
            run=run,
            name="validation" if validation else "training",
            validation=validation,
            alone=alone,
            noisy=not validation and name not in _SMOOTH,
            points=in_buckets(series.steps, series.values, most),
            best=_best(series),
        )
        for run, series, validation in found
    ]
    title = TITLES.get(name, name)
    if alone and curves[0].validation:
        title += " (validation)"
    called = [f"{runs[c.run][0]}: {c.name}" if len(runs) > 1 else c.name for c in curves]
    words = " ".join(map(_told, curves, called))
    log = name not in (*_SMOOTH, "samples_per_second") and _spans_orders(curves)
    return Figure(name, title, curves, log, f"{title}. {words}")


def _best(series: Series) -> tuple[int, float] | None:
    place = series.best if series.chosen else None
    return None if place is None else (int(series.steps[place]), float(series.values[place]))


def _spans_orders(curves: Sequence[Curve]) -> bool:
    lows = [float(c.points.low.min()) for c in curves if len(c.points.low)]
    highs = [float(c.points.high.max()) for c in curves if len(c.points.high)]
    return bool(lows) and min(lows) > 0 and max(highs) > _ORDERS * min(lows)


def _told(curve: Curve, name: str) -> str:
    """Say where a curve begins and ends, and its lowest and highest point."""
    points = curve.points
    broken = f"; {len(points.broken):,} values are not finite" if len(points.broken) else ""
    if not len(points.steps):
        return f"{name}: no finite value{broken}."
    low, high = int(np.argmin(points.low)), int(np.argmax(points.high))
    return (
        f"{name}: {spell_number(points.mean[0])} at step {points.steps[0]:,}, "
        f"{spell_number(points.mean[-1])} at step {points.steps[-1]:,}; "
        f"lowest {spell_number(points.low[low])} by step {points.steps[low]:,}, "
        f"highest {spell_number(points.high[high])} by step {points.steps[high]:,}"
        f"{'' if curve.best is None else f'; kept as the best: step {curve.best[0]:,}'}{broken}."
    )
