"""A run in figures and sentences: how it went, how it ended, what stands out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from distgrad.observe.durations import spell_seconds
from distgrad.observe.report.gather import Report, Run
from distgrad.observe.report.measured import Series, is_validation
from distgrad.observe.report.words import (
    listed,
    spell_bytes,
    spell_number,
)
from distgrad.observe.run.layout import VALIDATION

Kind: TypeAlias = Literal["problem", "good"]

_SHOWN = 5  # problems of one run that are told one by one


@dataclass(frozen=True)
class Finding:
    """Something worth knowing, in a sentence."""

    kind: Kind
    runs: list[str]
    """Of which it is true."""
    text: str


def state(run: Run) -> str:
    """Say whether the run has ended, and by what."""
    if not run.record.parts:
        return "not begun"
    last = run.record.parts[-1]
    if last.ended is None:
        return "running, or killed: no end is recorded"
    return f"ended: {last.ended_by}" if last.ended_by else "ended"


def facts(run: Run) -> dict[str, str]:
    """Return the figures of a run by what they are called; those not known are left out."""
    return {
        name: text
        for name, text in (
            ("State", state(run)),
            ("Steps", _steps(run)),
            *_measured(run),
            ("Training time", spell_seconds(run.clock.seconds[-1]) if run.clock.seconds else ""),
            *_machine(run),
        )
        if text
    }


def _steps(run: Run) -> str:
    done = run.clock.steps[-1] if run.clock.steps else 0
    total = run.record.parts[-1].total_steps if run.record.parts else None
    more = f" of {total:,}" if total is not None and total != done else ""
    return f"{done:,}{more}"


def _measured(run: Run) -> Iterator[tuple[str, str]]:
    if "loss" in run.measured:
        losses = run.measured["loss"].values
        # A batch's loss is noise around the mean of the last ones.
        last = losses[-max(1, len(losses) // 100) :]
        yield "Loss (last 1 %)", spell_number(float(np.mean(last)))
    for name, series in run.measured.items():
        if is_validation(name):
            called = f"Validation {name.removeprefix(VALIDATION)}"
            yield called, f"{spell_number(series.values[-1])}{_best(series)}"
    if "samples_per_second" in run.measured:
        speed = np.median(run.measured["samples_per_second"].values)
        yield "Samples per second", spell_number(round(float(speed), 1))


def _best(series: Series) -> str:
    """Return the best value, its step, and whether its checkpoint is the one that is kept."""
    if (best := series.best) is None:
        return ""
    kept = ", kept" if series.chosen else ""
    return f" (best {spell_number(series.values[best])} at step {series.steps[best]:,}{kept})"


def _machine(run: Run) -> Iterator[tuple[str, str]]:
    if not run.record.parts:
        return
    last = run.record.parts[-1]
    hosts = len(Counter(last.hosts))
    on = f" on {hosts} hosts" if hosts > 1 else ""
    yield "Ranks", f"{last.ranks}{on}" + (f", {last.shards} shards" if last.shards else "")
    yield "Parameters", f"{last.parameters:,}" if last.parameters is not None else ""
    yield "Peak memory of a rank", spell_bytes(max(last.peak_memory)) if last.peak_memory else ""
    if len(run.record.parts) > 1:
        steps = listed([f"{step:,}" for step in run.resumed[-3:]])
        count = len(run.record.parts) - 1
        yield "Resumed", f"at step {steps}" if count <= 3 else f"{count} times, last at {steps}"
    yield "Hash of the parameters", last.hash or ""


# -- what stands out ------------------------------------------------------------------------------


def findings(report: Report) -> list[Finding]:
    """Return what is wrong with the runs, then what is well; what is true of several once."""
    runs: dict[tuple[Kind, str], list[str]] = {}
    for run in report.runs:
        for kind, text in _findings(run):
            runs.setdefault((kind, text), []).append(run.name)
    found = [Finding(kind, names, text) for (kind, text), names in runs.items()]
    found += [
        Finding("good", names, "ended with the same parameters, bit for bit")
        for names in report.equal_hashes
    ]
    return sorted(found, key=lambda finding: finding.kind == "good")


def _findings(run: Run) -> Iterator[tuple[Kind, str]]:
    for group in run.times:
        span = "" if len(run.times) == 1 else f" (steps {group.first + 1:,} to {group.last:,})"
        for text in group.accusations:
            yield "problem", text + span
    for text in run.problems[:_SHOWN]:
        yield "problem", text
    if len(run.problems) > _SHOWN:
        more = len(run.problems) - _SHOWN
        yield "problem", f"{more} more layers have such gradients"
    yield from _not_finite(run)
    if run.times and not any(group.accusations for group in run.times):
        alone = len(run.times[-1].shares.ranks) == 1
        yield "good", "reading data held nobody up" if alone else "no rank held the others up"
    if run.heat is not None and not run.problems:
        yield "good", "no layer's gradient vanishes, explodes, is dead or not finite"


def _not_finite(run: Run) -> Iterator[tuple[Kind, str]]:
    for name, series in run.measured.items():
        broken = series.steps[~series.finite]
        if len(broken):
            others = f" and {len(broken) - 1:,} more" if len(broken) > 1 else ""
            yield "problem", f"{name} is not finite at step {broken[0]:,}{others}"
