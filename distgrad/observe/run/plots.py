"""plots/: a picture for each thing that was measured, drawn where a part ends."""

from __future__ import annotations

import importlib.util
import re
from functools import partial
from pathlib import Path

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import DistgradError
from distgrad.files import shown
from distgrad.observe.figure import new_figure
from distgrad.observe.gradients.heatmap import draw_heat_map
from distgrad.observe.run.layout import PLOTS, VALIDATION
from distgrad.observe.run.read import RunRecord

_SMOOTHED = 200  # points of a line from which on a mean is drawn through it
_LOGARITHMIC = ("loss", "gradient_norm", "learning_rate")
_COLUMNS = 1000  # of a heat map
_PARTS = (
    ("compute", "#0072b2"),
    ("data", "#e69f00"),
    ("waiting for others", "#d55e00"),
    ("transfer", "#cc79a7"),
)


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_plots(run: RunRecord) -> list[Path]:
    """Draw what was measured over the steps; return the pictures' paths.

    Errors: DistgradError without matplotlib, or if they cannot be written.
    """
    folder = run.folder / PLOTS
    trained = [name for name in run.names if not name.startswith(VALIDATION)]
    validated = [name.removeprefix(VALIDATION) for name in run.names if name not in trained]
    pictures = {
        name: partial(_draw_line, name=name) for name in dict.fromkeys([*trained, *validated])
    }
    if run.time:
        pictures["time"] = partial(_draw_time)
    if run.health:
        pictures["gradient_health"] = partial(_draw_health)
    drawn = {name: folder / f"{_file_name(name)}.png" for name in pictures}
    try:
        folder.mkdir(exist_ok=True)
        for name, path in drawn.items():
            pictures[name](path, run)
    except OSError as error:
        text = f"{shown(folder)} cannot be written: {error.strerror or error}"
        raise DistgradError(text) from None
    return list(drawn.values())


def _draw_line(path: Path, run: RunRecord, name: str) -> None:
    """Draw one measure, as trained and as validated, over the steps."""
    figure = new_figure("a plot of a run", 8, 4.5)
    axes = figure.add_subplot()
    steps, values = run.series(name)
    if steps.size:
        long = steps.size > _SMOOTHED
        faint = {"linewidth": 0.5, "alpha": 0.4} if long else {"linewidth": 1.2}
        axes.plot(steps, values, color="#0072b2", label=f"{name}, training", **faint)
        if long:
            axes.plot(*_smoothed(steps, values), color="#0072b2", label="its running mean")
    found, validation = run.series(VALIDATION + name)
    if found.size:
        axes.plot(found, validation, "o-", color="#d55e00", markersize=3, label="validation")
    drawn = np.concatenate([values, validation])
    drawn = drawn[np.isfinite(drawn)]
    if name in _LOGARITHMIC and drawn.size and drawn.min() > 0 and drawn.max() > 30 * drawn.min():
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel(name.replace("_", " "))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title(run.name, fontsize=10)
    figure.savefig(path)


def _smoothed(steps: Array, values: Array) -> tuple[Array, Array]:
    """Return means over a fiftieth of the points; what is not finite is left out."""
    width = max(2, steps.size // 50)
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    last = np.arange(width, steps.size + 1)
    number = counts[last] - counts[last - width]
    means = (sums[last] - sums[last - width]) / np.maximum(number, 1)
    return steps[last - 1], np.where(number > 0, means, np.nan)


def _draw_time(path: Path, run: RunRecord) -> None:
    """Draw the milliseconds a step, averaged over the ranks, and each rank's in all."""
    rows = [row for row in run.time if len(row["ranks"]) == len(run.time[-1]["ranks"])]
    split = np.array([row["ranks"] for row in rows], float)  # stretch, rank, five seconds
    counts = np.array([row["steps"] for row in rows], float)
    seconds, waiting, transfer, _, data = np.moveaxis(split, 2, 0)
    parts = np.stack([seconds - waiting - transfer - data, data, waiting, transfer])
    figure = new_figure("a plot of a run", 9, 4.5)
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    steps = np.array([row["step"] for row in rows])
    names, colours = zip(*_PARTS, strict=True)
    a_step = parts.mean(axis=2) / counts * 1e3  # part, stretch
    edges = np.concatenate([[steps[0] - counts[0]], steps])
    held = np.concatenate([a_step, a_step[:, -1:]], axis=1)  # a stretch is as wide as its steps
    left.stackplot(edges, held, labels=names, colors=colours, step="post")
    left.set_xlabel("step")
    left.set_ylabel("ms a step, mean of the ranks")
    left.set_xlim(edges[0], edges[-1])
    left.legend(fontsize=8, loc="lower right")
    whole = parts.sum(axis=1) / counts.sum() * 1e3  # part, rank
    below = np.zeros(whole.shape[1])
    for part, colour in zip(whole, colours, strict=True):
        right.bar(range(len(part)), part, bottom=below, color=colour)
        below += part
    right.set_xlabel("rank")
    right.set_xticks(range(whole.shape[1]) if whole.shape[1] <= 16 else [0, whole.shape[1] - 1])
    right.set_ylabel("ms a step")
    figure.suptitle(f"{run.name}: where the time goes", fontsize=10)
    figure.savefig(path)


def _draw_health(path: Path, run: RunRecord) -> None:
    """Draw the gradients' norms, layer × observed step."""
    layers = [*dict.fromkeys(name for row in run.health[-1:] for name in row["layers"])]
    rows = run.health[:: -(-len(run.health) // _COLUMNS)]
    norms = [[row["layers"].get(layer, np.nan) for row in rows] for layer in layers]
    steps = [row["step"] for row in rows]
    draw_heat_map(path, layers, steps, np.array(norms, float), [])


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "unnamed"
