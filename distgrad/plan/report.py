"""What a plan shows: a row for each number of ranks, strategy and algorithm; table, JSON, plot."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from distgrad.comm import AUTO
from distgrad.errors import ShapeError
from distgrad.observe.figure import new_figure
from distgrad.plan.memory import Memory, memory
from distgrad.plan.network import Machine
from distgrad.plan.predict import STRATEGIES, Prediction, predict
from distgrad.plan.profile import Profile

_HEAD = ("ranks", "strategy", "algorithm", "step ms", "efficiency", "exposed ms", "MB a rank")


@dataclass(frozen=True)
class Row:
    """One step on one number of ranks, and what a rank holds."""

    nodes: int
    prediction: Prediction
    memory: Memory

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        p = self.prediction
        return (
            f"{p.ranks:,}",
            p.strategy,
            p.algorithm,
            f"{p.step * 1e3:,.1f}",
            f"{p.efficiency:.1%}",
            f"{p.exposed * 1e3:,.1f}",
            f"{self.memory.total / 1e6:,.0f}",
        )

    def as_json(self) -> dict[str, object]:
        """The same as numbers, in seconds and bytes."""
        p = self.prediction
        rest = {"nodes": self.nodes, "efficiency": p.efficiency, "exposed": p.exposed}
        return asdict(p) | rest | {"memory": asdict(self.memory) | {"total": self.memory.total}}


def sized(machine: Machine, ranks: int) -> Machine:
    """Return the machine with so many ranks: nodes that are full, or one that is not.

    Errors: ShapeError for a number that leaves a node half full.
    """
    each = machine.ranks_per_node
    if ranks <= each:
        return replace(machine, nodes=1, ranks_per_node=ranks)
    if ranks % each:
        raise ShapeError(
            f"{ranks} ranks do not fill nodes of {each}; a plan is made for equal nodes: take "
            f"{ranks // each * each} or {(ranks // each + 1) * each} ranks, or other "
            f"--ranks-per-node"
        )
    return replace(machine, nodes=ranks // each)


def rows(
    profile: Profile,
    machine: Machine,
    *,
    ranks: Sequence[int],
    stages: Sequence[int] = range(len(STRATEGIES)),
    algorithms: Sequence[str] = (),
    elements: float = 2.0,
    jitter: float = 0.0,
) -> list[Row]:
    """Return a row for each; without ``algorithms``, all that fit the number of nodes."""
    found = []
    for count in ranks:
        here = sized(machine, count)
        for stage in stages:
            for algorithm in algorithms or fitting(here):
                step = predict(profile, here, zero=stage, algorithm=algorithm, jitter=jitter)
                held = memory(
                    profile, here.nodes, here.ranks_per_node, zero=stage, elements=elements
                )
                found.append(Row(here.nodes, step, held))
    return found


def fitting(machine: Machine) -> tuple[str, ...]:
    """Return the algorithms that differ from each other on these nodes."""
    if machine.ranks == 1:
        return (AUTO,)
    if machine.nodes == 1:
        return ("ring", "tree", "shared")
    return ("ring", "tree", "hierarchical") if machine.ranks_per_node > 1 else ("ring", "tree")


def table(found: Sequence[Row]) -> str:
    """Return the rows as text, the fastest of each number of ranks marked with a star.

    Of equal ones that is the first, which is the plainest.
    """
    best = {id(min(group, key=_nanoseconds)) for group in _by_ranks(found)}
    lines = [_HEAD, *(row.cells() for row in found)]
    widths = [max(len(cells[i]) for cells in lines) for i in range(len(_HEAD))]
    stars = ["", *(" *" if id(row) in best else "" for row in found)]
    shown = []
    for cells, star in zip(lines, stars, strict=True):
        left = [c.ljust(w) for c, w in zip(cells[1:3], widths[1:3], strict=True)]
        right = [c.rjust(w) for c, w in zip(cells[3:], widths[3:], strict=True)]
        shown.append("  ".join([cells[0].rjust(widths[0]), *left, *right]) + star)
    return "\n".join(shown)


def _nanoseconds(row: Row) -> int:
    return round(row.prediction.step * 1e9)


def _by_ranks(found: Sequence[Row]) -> list[list[Row]]:
    groups: dict[int, list[Row]] = {}
    for row in found:
        groups.setdefault(row.prediction.ranks, []).append(row)
    return list(groups.values())


def write_json(path: str | os.PathLike[str], found: Sequence[Row], machine: Machine) -> None:
    """Write the rows and the machine."""
    content = {"machine": asdict(machine), "rows": [row.as_json() for row in found]}
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


def plot(path: str | os.PathLike[str], found: Sequence[Row]) -> None:
    """Draw efficiency over the number of ranks, a line for each strategy and algorithm.

    Errors: DistgradError without matplotlib.
    """
    figure = new_figure("a plot", 8, 5)
    lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in found:
        p = row.prediction
        lines.setdefault((p.strategy, p.algorithm), []).append((p.ranks, 100 * p.efficiency))
    axes = figure.add_subplot()
    for (strategy, algorithm), points in lines.items():
        ranks, efficiency = zip(*sorted(points), strict=True)
        axes.plot(ranks, efficiency, marker=".", label=f"{strategy}, {algorithm}")
    axes.set_xscale("log")
    axes.set_xlabel("ranks")
    axes.set_ylabel("efficiency, %")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path)
