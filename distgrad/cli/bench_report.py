"""Shows what ``distgrad bench`` has measured: tables, and a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distgrad.cli.bench_measure import Row
from distgrad.observe.figure import new_figure

_EMPTY = "–"


def size_name(nbytes: int) -> str:
    """Return ``64 KiB`` for 65536."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if nbytes >= unit:
            return f"{nbytes / unit:.4g} {name}"
    return f"{nbytes} B"


def tables(rows: Sequence[Row]) -> str:
    """Return three tables, sizes downwards and algorithms across."""
    return "\n\n".join(
        [
            "time, µs\n" + _table(rows, lambda row: _figure(row.seconds * 1e6)),
            "bandwidth, GB/s\n" + _table(rows, lambda row: _figure(row.bandwidth / 1e9)),
            "overlap, %\n" + _table(rows, _overlap),
        ]
    )


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _overlap(row: Row) -> str:
    return _EMPTY if row.overlap is None else f"{row.overlap * 100:.0f}"


def _table(rows: Sequence[Row], cell: Callable[[Row], str]) -> str:
    found = {(row.nbytes, row.algorithm): row for row in rows}
    names = [*dict.fromkeys(row.algorithm for row in rows)]
    lines = ["size".ljust(10) + "".join(name.rjust(_width(name)) for name in names)]
    for nbytes in dict.fromkeys(row.nbytes for row in rows):
        line = size_name(nbytes).ljust(10)
        for name in names:
            row = found.get((nbytes, name))
            line += (_EMPTY if row is None else cell(row)).rjust(_width(name))
        lines.append(line)
    return "\n".join(lines)


def _width(name: str) -> int:
    return max(len(name), 8) + 2


def draw(path: str, rows: Sequence[Row], title: str) -> None:
    """Draw time, bandwidth and overlap over size."""
    figure = new_figure("a plot", 15, 5)
    figure.suptitle(title, fontsize=8)
    time, bandwidth, overlap = figure.subplots(1, 3)
    for name in dict.fromkeys(row.algorithm for row in rows):
        mine = [row for row in rows if row.algorithm == name]
        style: dict[str, Any] = {"marker": "o", "markersize": 3, "label": name}
        sizes = [row.nbytes for row in mine]
        time.plot(sizes, [row.seconds * 1e6 for row in mine], **style)
        bandwidth.plot(sizes, [row.bandwidth / 1e9 for row in mine], **style)
        hidden = [row.overlap for row in mine if row.overlap is not None]
        if hidden:
            overlap.plot(sizes, [100 * x for x in hidden], **style)
        else:
            overlap.plot([], [], **style)  # so that each has the same colour in all three
    for axes, label in ((time, "µs"), (bandwidth, "GB/s"), (overlap, "overlap, %")):
        axes.set(xlabel="bytes", ylabel=label)
        axes.set_xscale("log", base=2)
        axes.grid(True, alpha=0.3)
    time.set_yscale("log")
    time.legend(fontsize=8)
    figure.savefig(path)
