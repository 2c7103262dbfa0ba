"""The page's parts that need no script: figures, findings, bars, tables. All words are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from distgrad.observe.durations import spell_seconds
from distgrad.observe.report.facts import Finding, facts, findings
from distgrad.observe.report.gather import Report, Run
from distgrad.observe.report.settings import HISTORY, Comparison, history, typed
from distgrad.observe.report.times import PARTS, TimeGroup
from distgrad.observe.report.words import listed, spell_bytes, spell_share

_BARS = 32  # ranks that have a row, of the slowest
_PART_NAMES = ("compute", "reading data", "waiting", "transfer", "hidden")
_NAMED = 3  # runs that a sentence names one by one
_LABELS = {"problem": "problem", "good": "ok"}


def row(cells: Iterable[str], *, head: bool = False, style: str = "") -> str:
    """Return a table's row of cells that are HTML already; the first names the row."""
    first, *rest = cells
    tag, scope = ("th", "col") if head else ("td", "row")
    others = "".join(f'<{tag} scope="col">{c}</{tag}>' if head else f"<td>{c}</td>" for c in rest)
    return f'<tr class="{style}"><th scope="{scope}">{first}</th>{others}</tr>'


def table(head: Sequence[str], rows: Iterable[str], *, name: str = "", style: str = "") -> str:
    """Return a table that scrolls in its own box; ``head`` is words, ``rows`` are HTML."""
    heads, known = row(map(escape, head), head=True), f' id="{name}"' if name else ""
    return (
        f'<div class="scroll" tabindex="0"><table{known} class="{style}"><thead>{heads}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


# -- at the top -----------------------------------------------------------------------------------


def summary(report: Report) -> str:
    """Return the figures of one run as tiles, of several as a table."""
    if len(report.runs) == 1:
        tiles = facts(report.runs[0]).items()
        return (
            '<dl class="tiles">'
            + "".join(
                f'<div class="{_width(text)}"><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>'
                for name, text in tiles
            )
            + "</dl>"
        )
    known = [facts(run) for run in report.runs]
    names = list(dict.fromkeys(name for those in known for name in those))
    names.sort(key=lambda name: name == "Hash of the parameters")  # the longest comes last
    rows = (
        row([_called(i, run), *(escape(those.get(name, "–")) for name in names)])
        for i, (run, those) in enumerate(zip(report.runs, known, strict=True))
    )
    return table(["Run", *names], rows, style="summary")


def _width(text: str) -> str:
    if len(text) > 60:
        return "long"
    return "wide" if len(text) > 22 else ""


def _called(place: int, run: Run) -> str:
    return f'<i class="chip run-{place % 8}"></i>{escape(run.name)}'


def commands(report: Report) -> str:
    """Return the newest command of each run, to be copied."""
    made = [
        f"<div>{f'<b>{escape(run.name)}</b> ' if len(report.runs) > 1 else ''}"
        f'<code id="command-{i}">{escape(typed(run.record.parts[-1]))}</code> '
        f'<button type="button" class="copy" data-of="command-{i}">copy</button></div>'
        for i, run in enumerate(report.runs)
        if run.record.parts
    ]
    text = f'<div class="made-by">{"".join(made)}</div>'
    if len(made) <= _NAMED:
        return text
    return f"<details><summary>Commands</summary>{text}</details>"


def found(report: Report) -> str:
    """Return what stands out, as a list."""
    entries = [
        f'<li class="{f.kind}"><b>{_LABELS[f.kind]}</b> '
        f"<span>{escape(_of_whom(report, f) + f.text)}</span></li>"
        for f in findings(report)
    ]
    return f'<ul class="findings">{"".join(entries)}</ul>' if entries else ""


def _of_whom(report: Report, finding: Finding) -> str:
    """Return the runs that a finding is of, as the beginning of a sentence."""
    if len(report.runs) == 1:
        return ""
    if len(finding.runs) == len(report.runs):
        return "all runs: "
    return f"{listed(finding.runs, _NAMED)}: "


# -- bars -----------------------------------------------------------------------------------------


def times(group: TimeGroup) -> str:
    """Return where each rank's time went: a bar and its numbers, a row for each rank."""
    ranks = range(len(group.shares.ranks))
    busy = group.parts[:, 0] + group.parts[:, 1]
    shown = sorted(sorted(ranks, key=lambda rank: -busy[rank])[:_BARS])
    slow = group.shares.slow()
    rows = (row(_time_cells(group, rank, rank in slow)) for rank in shown)
    head = ["rank", "host", "a step", "share of the time", *_PART_NAMES]
    left_out = len(ranks) - len(shown)
    note = f"<p>The {_BARS} busiest ranks; {left_out} more are not shown.</p>" if left_out else ""
    return note + table(head, rows, style="bars")


def _time_cells(group: TimeGroup, rank: int, slow: bool) -> list[str]:
    share, parts = group.shares.ranks[rank], group.parts[rank]
    name = f"{rank} <b>slow</b>" if slow else f"{rank}"
    step = spell_seconds(share.seconds / max(1, share.steps))
    return [name, escape(share.host), step, _bar(parts), *map(spell_share, parts)]


def _bar(parts: Sequence[float]) -> str:
    """Return a bar of compute, data, waiting, transfer, with what is hidden hatched in compute."""
    pieces, left = [], 0.0
    for name, part in zip(PARTS[:4], parts[:4], strict=True):
        pieces.append(_piece(name, left, part))
        left += part
    pieces.append(_piece("hidden", max(0.0, parts[0] - parts[4]), parts[4]))
    return f'<svg class="bar" aria-hidden="true">{"".join(pieces)}</svg>'


def _piece(style: str, left: float, width: float) -> str:
    return f'<rect class="{style}" x="{left:.2%}" width="{width:.2%}" height="100%"/>'


def memory(run: Run) -> str:
    """Return each rank's peak memory, as a bar and a number; "" if it is not known."""
    parts = run.record.parts
    peaks = parts[-1].peak_memory if parts else None
    if not peaks:
        return ""
    most = max(peaks)
    shown = sorted(sorted(range(len(peaks)), key=lambda rank: -peaks[rank])[:_BARS])
    hosts = parts[-1].hosts if len(parts[-1].hosts) == len(peaks) else [""] * len(peaks)
    rows = (
        row(
            [
                str(rank),
                escape(hosts[rank]),
                f'<svg class="bar" aria-hidden="true">'
                f"{_piece('memory', 0, peaks[rank] / max(1, most))}</svg>",
                spell_bytes(peaks[rank]),
            ]
        )
        for rank in shown
    )
    left_out = len(peaks) - len(shown)
    note = f"<p>The {_BARS} largest; {left_out} more ranks are not shown.</p>" if left_out else ""
    return note + table(["rank", "host", "of the largest", "peak"], rows, style="bars")


# -- settings and history -------------------------------------------------------------------------


def settings(report: Report, name: str, compared: Sequence[Comparison]) -> str:
    """Return settings of all runs side by side, those that differ marked."""
    if not compared:
        return "<p>None is recorded.</p>"
    several = len(report.runs) > 1
    rows = (
        row(
            [
                escape(c.name) + (" <b>differs</b>" if c.differs else ""),
                *(f"<code>{escape(value)}</code>" for value in c.values),
            ],
            style="differs" if c.differs else "equal",
        )
        for c in compared
    )
    heads = [run.name for run in report.runs] if several else ["value"]
    made = table(["name", *heads], rows, name=name, style="settings")
    return (_filter(name, sum(c.differs for c in compared)) if several else "") + made


def _filter(name: str, count: int) -> str:
    return (
        f'<label><input type="checkbox" class="differences" aria-controls="{name}"> '
        f"only the {count} that differ</label>"
    )


def parts(report: Report) -> str:
    """Return the parts of all runs, as a table."""
    several = len(report.runs) > 1
    skipped = 0 if several else 1  # one run needs no name in each row
    rows = (row(map(escape, cells[skipped:])) for cells in history(report))
    return table(HISTORY[skipped:], rows, style="history")
