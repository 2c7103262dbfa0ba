"""The page: one HTML file with its style, its script and its data inside; no network is needed."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from distgrad.errors import DistgradError
from distgrad.files import replacing, shown
from distgrad.observe.report import settings, tables
from distgrad.observe.report.curves import Curve, Figure
from distgrad.observe.report.gather import Report, Run, gather
from distgrad.observe.report.gradients import HeatMap
from distgrad.observe.report.sample import rounded
from distgrad.observe.report.times import TimeGroup
from distgrad.observe.report.words import listed, spell_moment
from distgrad.observe.run import read_run

_SCRIPTS = ("base.js", "plane.js", "curves.js", "stretches.js", "heatmap.js", "page.js")
_TITLE = 3  # runs that the title names
_COLOURS = 8  # of runs; a ninth has the first one's, dashed


def write_report(
    folders: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str], version: str
) -> int:
    """Write the page of some run folders to ``path``; return its size in bytes.

    ``version`` is that of the program, as the page tells it.

    Errors: DistgradError for a folder that is no run's or cannot be read, or a path that cannot be
    written.
    """
    text = page(gather([read_run(folder) for folder in folders]), version).encode()
    try:
        with replacing(Path(path), durable=False) as file:
            file.write(text)
    except OSError as error:
        reason = error.strerror or error
        raise DistgradError(
            f"{shown(path)} cannot be written: {reason}; choose another file with -o"
        ) from None
    return len(text)


def page(report: Report, version: str, now: datetime | None = None) -> str:
    """Return the page as HTML; ``now`` is when it says it was made."""
    made = now or datetime.now(timezone.utc)
    script, style = _script(), _file("report.css")
    names = [run.name for run in report.runs]
    title = listed(names) if len(names) <= _TITLE else f"{len(names)} runs"
    return Template(_file("template.html")).substitute(
        policy=_policy(script, style),
        title=escape(title),
        style=style,
        script=script,
        data=_embedded(_data(report)),
        made=escape(f"{spell_moment(made.isoformat())} by distgrad {version}"),
        summary=tables.summary(report),
        commands=tables.commands(report),
        findings=tables.found(report),
        curves=_curves(report.figures),
        gradients=_gradients(report.runs),
        times=_times(report.runs),
        memory=_memory(report.runs),
        configuration=tables.settings(report, "configuration", settings.configuration(report)),
        environment=tables.settings(report, "environment", settings.environment(report)),
        history=tables.parts(report),
        points=_points_told(report.figures),
        epochs="" if all(run.clock.epochs for run in report.runs) else "disabled",
    )


# -- what is inside -------------------------------------------------------------------------------


@cache
def _file(name: str) -> str:
    return (resources.files(__package__) / "files" / name).read_text("utf-8")


@cache
def _script() -> str:
    return "\n".join(map(_file, _SCRIPTS))


def _policy(script: str, style: str) -> str:
    """Return a content security policy under which the page can reach nothing outside itself."""
    return (
        f"default-src 'none'; img-src data:; script-src '{_digest(script)}'; "
        f"style-src '{_digest(style)}'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(data: object) -> str:
    """Return data as JSON that cannot end the element it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# -- figures --------------------------------------------------------------------------------------


def _figure(kind: str, index: int, title: str, words: str, *, wide: bool = False) -> str:
    """Return a figure that the script draws; its words stand for it where it cannot be seen."""
    return (
        f'<figure class="{"wide" if wide else ""}" data-kind="{kind}" data-index="{index}">'
        f'<figcaption><h3>{escape(title)}</h3><div class="tools"></div></figcaption>'
        f'<div class="legend"></div><div class="box"></div>'
        f"<noscript><p>{escape(words)}</p></noscript>"
        f'<details class="numbers"><summary>Numbers</summary><p>{escape(words)}</p>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}, numbers">'
        f"</div></details></figure>"
    )


def _curves(figures: Sequence[Figure]) -> str:
    drawn = [_figure("curves", i, f.title, f.words, wide=i == 0) for i, f in enumerate(figures)]
    return "".join(drawn) or "<p>Nothing has been measured yet.</p>"


def _gradients(runs: Sequence[Run]) -> str:
    heats = [(run, run.heat) for run in runs if run.heat is not None]
    if not heats:
        return (
            "<p>No run has looked at its gradients: give the Trainer a "
            "<code>GradientHealth</code>.</p>"
        )
    return "".join(
        _figure("heatmap", i, _titled("Gradient norm by layer", run, runs), heat.words, wide=True)
        for i, (run, heat) in enumerate(heats)
    )


def _times(runs: Sequence[Run]) -> str:
    made, index = [], 0
    for run in runs:
        for group in run.times:
            made.append(f"<h3>{escape(_titled(_span(group), run, runs))}</h3>")
            made.append(f"<p>{escape(group.described)}</p>")
            made += [f'<p class="accusation">{escape(text)}</p>' for text in group.accusations]
            made.append(tables.times(group))
            made.append(_figure("stretches", index, "Over the steps", group.words, wide=True))
            index += 1
    return "".join(made) or "<p>No run has split its time.</p>"


def _span(group: TimeGroup) -> str:
    count = len(group.shares.ranks)
    ranks = f"{count} ranks" if count > 1 else "1 rank"
    return f"{ranks}, steps {group.first + 1:,} to {group.last:,}"


def _titled(title: str, run: Run, runs: Sequence[Run]) -> str:
    return f"{run.name}: {title}" if len(runs) > 1 else title


def _memory(runs: Sequence[Run]) -> str:
    made = []
    for run in runs:
        if bars := tables.memory(run):
            made += [f"<h3>{escape(run.name)}</h3>" if len(runs) > 1 else "", bars]
    return "".join(made) or "<p>It is known once a run has ended.</p>"


def _points_told(figures: Sequence[Figure]) -> str:
    """Say how many measurements a point of a curve stands for, if it is more than one."""
    most = max((curve.points.bucket for figure in figures for curve in figure.curves), default=1)
    if most == 1:
        return "Every measured value is drawn as long as a pixel has no more than one"
    return (
        f"A point of a curve stands for up to {most} neighbouring measurements; "
        f"all of them are in metrics.csv and metrics.jsonl of the run's folder. Likewise"
    )


# -- data -----------------------------------------------------------------------------------------


def _data(report: Report) -> dict[str, Any]:
    heats = [(i, run.heat) for i, run in enumerate(report.runs) if run.heat is not None]
    groups = [(i, group) for i, run in enumerate(report.runs) for group in run.times]
    return {
        "runs": [_run(i, run) for i, run in enumerate(report.runs)],
        "curves": [_curve_figure(figure) for figure in report.figures],
        "heatmap": [_heat(i, heat) for i, heat in heats],
        "stretches": [_stretches(i, group) for i, group in groups],
    }


def _run(place: int, run: Run) -> dict[str, Any]:
    clock = vars(run.clock)
    return {"name": run.name, "colour": place % _COLOURS, "parts": run.resumed, "clock": clock}


def _curve_figure(figure: Figure) -> dict[str, Any]:
    return {
        "title": figure.title,
        "words": figure.words,
        "log": figure.log,
        "curves": [_curve(i, curve) for i, curve in enumerate(figure.curves)],
    }


def _curve(place: int, curve: Curve) -> dict[str, Any]:
    points = curve.points
    ends = {"low": rounded(points.low, 5), "high": rounded(points.high, 5)}
    return {
        "run": curve.run,
        "name": curve.name,
        "colour": place % _COLOURS,
        "validation": curve.validation,
        "alone": curve.alone,
        "noisy": curve.noisy,
        "steps": points.steps.tolist(),
        "mean": rounded(points.mean),
        **(ends if points.bucket > 1 else {}),
        "broken": points.broken[:1000].tolist(),
        **({} if curve.best is None else {"best": curve.best}),
    }


def _heat(run: int, heat: HeatMap) -> dict[str, Any]:
    return {
        "run": run,
        "words": heat.words,
        "layers": heat.layers,
        "steps": heat.steps,
        "norms": [[_logarithm(norm) for norm in column] for column in heat.norms.tolist()],
        "problems": [{"row": f.layer, "from": f.first, "to": f.last} for f in heat.frames],
    }


def _logarithm(norm: float) -> float | str | None:
    if math.isinf(norm):
        return "Infinity"
    return round(math.log10(norm), 2) if norm > 0 else None  # also NaN: no gradient


def _stretches(run: int, group: TimeGroup) -> dict[str, Any]:
    hosts = [share.host for share in group.shares.ranks]
    return {
        "run": run,
        "words": group.words,
        "from": group.starts,
        "to": group.ends,
        "step": rounded(group.steps, 3),
        "mean": np.round(group.mean, 3).tolist(),
        "names": [f"rank {rank} ({hosts[rank]})" for rank in group.chosen],
        "ranks": np.round(group.by_rank, 3).tolist(),
    }
