"""A run's state as a screen: what fits the terminal's width, in its encoding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from distgrad.observe.durations import spell_left, spell_seconds
from distgrad.observe.report.times import TimeGroup
from distgrad.observe.report.words import spell_number, spell_share
from distgrad.observe.top.state import State

_RANKS = 16  # that have a line; of more, the busiest
_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", "_.-=+*#%"
_SHARES = (
    ("compute", "blue", "█", "#"),
    ("data", "yellow", "▓", "d"),
    ("waiting", "red", "░", "."),
    ("transfer", "magenta", "▒", "t"),
)


class Screen:
    """Draws a state; ``checkpoint`` says which the last one is, ``footer`` how to leave."""

    def __init__(self, state: State, *, checkpoint: str = "", footer: str = "") -> None:
        self._state, self._checkpoint, self._footer = state, checkpoint, footer

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        state, width = self._state, options.max_width
        ascii_only = options.ascii_only
        yield _title(state)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        room = max(10, width - 14)
        for name, cell in self._rows(room, ascii_only):
            table.add_row(name, cell)
        yield table
        if self._footer:
            yield Text(self._footer, style="dim")

    def _rows(self, room: int, ascii_only: bool) -> Iterator[tuple[str, RenderableType]]:
        state = self._state
        yield "step", _steps(state)
        if state.total:
            # A bar as long as the line would be mistaken for a rule.
            bar = ProgressBar(state.total, min(state.step, state.total), width=min(room, 60))
            yield "", bar
        if state.losses:
            last = state.losses[-max(1, len(state.losses) // 100) :]
            spark = sparkline(state.losses, min(40, room - 12), _ASCII if ascii_only else _BLOCKS)
            yield "loss", f"{spell_number(float(np.mean(last))):10}  {spark}"
        for v in state.validations:
            best = "" if v.best is None else f", best {spell_number(v.best)} at {v.best_step:,}"
            best += ", kept" if best and v.kept else ""
            yield "validation", f"{v.name} {spell_number(v.value)} at step {v.step:,}{best}"
        if state.speed is not None:
            yield "samples/s", spell_number(round(state.speed, 1))
        if self._checkpoint:
            yield "checkpoint", self._checkpoint
        # Before the bars, of which a low window may show none.
        for text in state.times.accusations if state.times else ():
            yield "slow", Text(text, style="bold red")
        for text in state.problems:
            yield "gradients", Text(text, style="bold red")
        yield from _times(state.times, room, ascii_only)


def _title(state: State) -> Text:
    count, hosts = state.part.ranks, len(set(state.part.hosts))
    ranks = "1 rank" if count == 1 else f"{count} ranks"
    on = f" on {hosts} hosts" if hosts > 1 else ""
    parts = len(state.record.parts)
    part = f", part {parts}" if parts > 1 else ""
    colour = {"running": "green", "silent": "yellow"}.get(state.status, "cyan")
    text = Text(overflow="fold")
    text.append(state.record.name, style="bold")
    text.append(f"  {ranks}{on}{part}  ")
    text.append(_status(state), style=f"bold {colour}")
    return text


def _status(state: State) -> str:
    if state.silent is None:
        return state.status
    return (
        f"silent for {spell_seconds(state.silent)}: it hangs, was killed, or is busy with "
        f"something else than steps"
    )


def _steps(state: State) -> str:
    total = f" of {state.total:,} ({state.step / state.total:.0%})" if state.total else ""
    epoch = "" if state.epoch is None else f"   epoch {state.epoch + 1}"
    eta = "" if state.eta is None else f"   ETA {spell_left(state.eta)}"
    return f"{state.step:,}{total}{epoch}{eta}"


def sparkline(values: Sequence[float], width: int, levels: str = _BLOCKS) -> str:
    """Return values as ``width`` characters or fewer: means of neighbours, from low to high.

    One that is not finite in all its values is "!".
    """
    count = min(width, len(values))
    if count < 1:
        return ""
    cells = np.array_split(np.asarray(values, np.float64), count)
    means = [float(np.mean(c[np.isfinite(c)])) if np.isfinite(c).any() else math.nan for c in cells]
    finite = [mean for mean in means if math.isfinite(mean)]
    if not finite:
        return "!" * count
    low, high = min(finite), max(finite)
    scale = (len(levels) - 1) / (high - low) if high > low else 0.0
    return "".join(
        "!" if math.isnan(mean) else levels[round((mean - low) * scale)] for mean in means
    )


def _times(
    group: TimeGroup | None, room: int, ascii_only: bool
) -> Iterator[tuple[str, RenderableType]]:
    """Yield a bar for each rank, and what the colours mean."""
    if group is None:
        return
    ranks = range(len(group.shares.ranks))
    busy = group.parts[:, 0] + group.parts[:, 1]
    shown = sorted(sorted(ranks, key=lambda rank: -busy[rank])[:_RANKS])
    width = max(8, min(40, room - 8))
    yield "time", _key(ascii_only)
    for rank in shown:
        bar = _bar(group.parts[rank][:4].tolist(), width, ascii_only)
        yield f"  rank {rank}", bar.append(f" {group.shares.ranks[rank].host}", style="dim")
    if len(ranks) > len(shown):
        yield "", f"the {len(shown)} busiest of {len(ranks)} ranks"
    hidden = float(group.parts[:, 4].mean())
    step = spell_seconds(group.shares.step)
    yield "a step", f"{step}, {spell_share(hidden)} of it transfer hidden under compute"


def _key(ascii_only: bool) -> Text:
    text = Text()
    for name, colour, block, letter in _SHARES:
        text.append(f"{letter if ascii_only else block} ", style=colour).append(f"{name}  ")
    return text


def _bar(parts: Sequence[float], width: int, ascii_only: bool) -> Text:
    """Return a rank's parts as so many characters; a part of less than half of one is not seen."""
    ends = np.rint(np.cumsum(parts) * width).astype(int)
    text, at = Text(no_wrap=True), 0
    for (_, colour, block, letter), end in zip(_SHARES, ends.tolist(), strict=True):
        text.append((letter if ascii_only else block) * (end - at), style=colour)
        at = end
    return text
