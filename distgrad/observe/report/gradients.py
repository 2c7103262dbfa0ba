"""The health of gradients as the report shows it: a heat map of layers, and what was found."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distgrad.autograd.types import Array
from distgrad.observe.report.sample import runs_of
from distgrad.observe.run import RunRecord
from distgrad.observe.run.read import Row

_COLUMNS = 400  # of a heat map
_CELLS = 60_000  # of one, at most: about 0.4 MB
_PROBLEM = re.compile(r"(\w+: '(.*?)') at step ")


@dataclass(frozen=True)
class Frame:
    """Cells of one layer in which something is wrong, from one step to another."""

    layer: int
    first: int
    last: int


@dataclass(frozen=True)
class HeatMap:
    """Gradient norms by observed step (or several: then the largest) and layer."""

    layers: list[str]
    steps: list[int]
    norms: Array
    """(step, layer): NaN where a layer had no gradient, infinity where it is not finite."""
    frames: list[Frame]
    observed: int
    """Steps that were observed; a column stands for several if there are fewer of these."""
    words: str


def heat_map(record: RunRecord) -> HeatMap | None:
    """Return the heat map of a run; None if nobody looked at its gradients."""
    rows = record.health
    layers = [*dict.fromkeys(name for row in rows for name in row["layers"])]
    if not layers:
        return None
    columns = runs_of(len(rows), max(1, min(_COLUMNS, _CELLS // len(layers))))
    place = {layer: i for i, layer in enumerate(layers)}
    norms = np.full((len(columns), len(layers)), np.nan)
    for i, column in enumerate(columns):
        for row in (rows[j] for j in column):
            for layer, norm in row["layers"].items():
                norms[i, place[layer]] = np.fmax(norms[i, place[layer]], abs(_or_infinity(norm)))
    steps = [rows[column[-1]]["step"] for column in columns]
    frames = _frames(record, columns, place)
    words = _told(layers, rows[0]["step"], rows[-1]["step"], norms, frames)
    return HeatMap(layers, steps, norms, frames, len(rows), words)


def _or_infinity(norm: float) -> float:
    return norm if math.isfinite(norm) or math.isnan(norm) else math.inf


def problems(rows: Sequence[Row]) -> list[str]:
    """Return what was wrong with gradients, each layer's trouble once, as it was told last."""
    found: dict[str, str] = {}
    for row in rows:
        for text in row["problems"]:
            told = _PROBLEM.match(text)
            found[told[1] if told else text] = text
    return [*found.values()]


def _frames(record: RunRecord, columns: list[range], place: dict[str, int]) -> list[Frame]:
    """Return runs of neighbouring columns in which a layer is named."""
    frames: list[Frame] = []
    ongoing: dict[int, Frame] = {}
    for column in columns:
        rows = [record.health[i] for i in column]
        told = [_PROBLEM.match(text) for row in rows for text in row["problems"]]
        named = {place[match[2]] for match in told if match and match[2] in place}
        first, last = rows[0]["step"], rows[-1]["step"]
        ongoing = {
            layer: Frame(layer, ongoing[layer].first if layer in ongoing else first, last)
            for layer in named
        } | {}
        frames = [f for f in frames if not _continued(f, ongoing)] + [*ongoing.values()]
    return frames


def _continued(frame: Frame, ongoing: dict[int, Frame]) -> bool:
    return frame.layer in ongoing and ongoing[frame.layer].first == frame.first


def _told(layers: list[str], first: int, last: int, norms: Array, frames: list[Frame]) -> str:
    named = [*dict.fromkeys(layers[frame.layer] for frame in frames)]
    finite = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
    seen = finite[~np.isnan(finite)]
    span = f"norms from {seen.min():.1e} to {seen.max():.1e}" if len(seen) else "no finite norm"
    wrong = f"; something is wrong with {', '.join(named[:5])}" if named else ""
    more = f" and {len(named) - 5} more layers" if len(named) > 5 else ""
    return (
        f"Gradient norms of {len(layers)} layers from step {first:,} to {last:,}: "
        f"{span}{wrong}{more}."
    )
