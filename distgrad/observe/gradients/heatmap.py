"""Draws layer × step pictures. matplotlib is imported when the first one is drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import groupby
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import DistgradError
from distgrad.observe.figure import new_figure
from distgrad.observe.gradients.diagnosis import KINDS, Kind

_COLOURS: dict[Kind, str] = {
    "vanishing": "deepskyblue",
    "exploding": "red",
    "dead": "magenta",
    "nonfinite": "black",
}


def draw_heat_map(
    path: str | os.PathLike[str],
    layers: Sequence[str],
    steps: Sequence[int],
    norms: Array,
    marks: Sequence[Mapping[int, Kind]],
) -> None:
    """Draw log10 of ``norms`` (layer, step) with frames around the cells that ``marks`` names.

    Errors: DistgradError without matplotlib, or without steps.
    """
    if not steps:
        raise DistgradError("no step was observed yet: there is no heat map to draw")
    height = min(1.6 + 0.24 * len(layers), 100)  # beyond that, only every so many layers are named
    figure = new_figure("a heat map", 10, max(height, 3))
    axes = figure.add_subplot()
    image = axes.imshow(_logarithm(norms), aspect="auto", interpolation="nearest", cmap="viridis")
    axes.set_facecolor("lightgrey")  # seen where there is no number
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, aspect=40)
    bar.set_label("log10 of the gradient norm", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    _label(axes, layers, steps)
    _frame(axes, len(layers), marks)
    figure.savefig(path)


def _logarithm(norms: Array) -> Any:
    usable = np.isfinite(norms) & (norms > 0)
    logarithm = np.log10(norms, out=np.zeros_like(norms), where=usable)
    logarithm[~usable] = np.nan  # left blank in the picture
    return logarithm


def _label(axes: Any, layers: Sequence[str], steps: Sequence[int]) -> None:
    rows = range(0, len(layers), -(-len(layers) // 400))
    axes.set_yticks(rows, [_shortened(layers[i]) for i in rows], fontsize=8)
    columns = np.unique(np.linspace(0, len(steps) - 1, 11).round().astype(int))
    axes.set_xticks(columns, [str(steps[i]) for i in columns], fontsize=8)
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel("layer", fontsize=9)
    axes.set_title("Gradient norms by layer (grey: none, zero or not finite)", fontsize=10)


def _shortened(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:18]}…{name[-21:]}"


def _frame(axes: Any, rows: int, marks: Sequence[Mapping[int, Kind]]) -> None:
    """Frame each run of neighbouring cells with the same problem, and say what frames mean."""
    rectangle = import_module("matplotlib.patches").Rectangle
    for row in range(rows):
        kinds = [column.get(row) for column in marks]
        for kind, run in groupby(range(len(marks)), kinds.__getitem__):
            if kind is not None:
                columns = list(run)
                corner = (columns[0] - 0.5, row - 0.42)
                axes.add_patch(
                    rectangle(corner, len(columns), 0.84, fill=False, lw=1.5, ec=_COLOURS[kind])
                )
    present = {kind for column in marks for row, kind in column.items() if row >= 0}
    shown = [
        rectangle((0, 0), 1, 1, fill=False, lw=1.5, ec=_COLOURS[kind], label=kind)
        for kind in KINDS
        if kind in present
    ]
    if shown:
        axes.figure.legend(handles=shown, loc="outside lower center", ncols=4, fontsize=8)
