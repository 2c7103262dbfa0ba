"""The words for where a training stands: a live line that fits, and a line for a log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from distgrad.observe.durations import spell_left
from distgrad.observe.terminal.status import Status

if TYPE_CHECKING:
    from rich.text import Text

_GAP = "  "
_SHORT = {"gradient_norm": "|g|"}
_USUAL = 79  # columns, from which on an evaluation's line has the step
_NARROWEST, _WIDEST = 8, 30  # columns of a bar that is worth drawing


def live_line(
    status: Status, width: int, *, ascii_only: bool, color: bool, bar: bool = True
) -> Text:
    """Return what fits into ``width`` columns, the most important first; then a bar, if it does."""
    from rich.cells import cell_len  # noqa: PLC0415 (import distgrad stays light)
    from rich.text import Text  # noqa: PLC0415

    parts = _parts(status)
    barred, done, total = "epoch", status.step, status.total
    if not status.epoch:
        barred, done, total = "evaluating", status.evaluating or 0, status.batches
    kept: set[str] = set()
    used = 0
    for name in _BY_IMPORTANCE:
        text = parts.get(name)
        needed = cell_len(text) + (len(_gap(name)) if kept else 0) if text else 0
        if text and used + needed <= width:
            kept.add(name)
            used += needed
    line = Text(no_wrap=True, end="")
    for name, text in parts.items():
        if name not in kept:
            continue
        line.append(_gap(name) if line else "", style := _STYLES.get(name, ""))
        line.append(text, style)
        room = width - used - len(_GAP)
        if bar and name == barred and total and room >= _NARROWEST:
            line.append(_GAP)
            columns = min(room, _WIDEST)
            line.append_text(_bar(columns * done // total, columns, ascii_only, color))
    line.truncate(width)  # an epoch that does not fit either
    return line


def _gap(name: str) -> str:
    return ", " if name == "validation metrics" else _GAP


# As they stand in the line, and as they are given up when it is too narrow: from the end.
_BY_IMPORTANCE = (
    *("epoch", "evaluating", "loss", "skipped", "eta", "rate"),
    *("validation", "validation metrics", "step", "metrics"),
)
_STYLES = {
    "epoch": "bold",
    "evaluating": "cyan",
    "validation": "cyan",
    "validation metrics": "cyan",
    "skipped": "yellow",
}


def _parts(status: Status) -> dict[str, str]:
    """Return the parts of the line in their order."""
    named = [f"{_SHORT.get(k, k)} {number(v)}" for k, v in status.numbers.items()]
    loss, *metrics = named or [""]
    # While the next result is worked out, that stands in the place of the last one.
    first, *more = _validation(status) if status.evaluating is None else [""]
    eta = "" if status.left is None else f"eta {spell_left(status.left)}"
    evaluating = " ".join(_evaluating(status))
    if not status.epoch:
        return {"evaluating": evaluating, "eta": eta}
    return {
        "epoch": f"epoch {_of(status.epoch, status.epochs)}",
        "step": f"step {_of(status.step, status.total)}",
        "loss": loss,
        "metrics": _GAP.join(metrics),
        "skipped": f"skipped {status.skipped}" if status.skipped else "",
        "rate": f"{number(status.rate)} samples/s" if status.rate else "",
        "eta": eta,
        "evaluating": evaluating,
        "validation": first,
        "validation metrics": ", ".join(more),
    }


def _validation(status: Status) -> list[str]:
    words = [f"{name} {number(value)}" for name, value in status.validation.items()] or [""]
    return [f"validation {words[0]}" if words[0] else "", *words[1:]]


def _evaluating(status: Status) -> list[str]:
    """Return the word for an evaluation under way and how far it is; [] if there is none."""
    if status.evaluating is None:
        return []
    word = "validating" if status.epoch else "evaluating"
    return [word, _of(status.evaluating, status.batches)]


def _bar(full: int, width: int, ascii_only: bool, color: bool) -> Text:
    from rich.text import Text  # noqa: PLC0415

    full = min(width, full)
    done, rest = ("#", "-") if ascii_only else ("━", "━" if color else "─")
    return Text.assemble((done * full, "green"), (rest * (width - full), "bright_black"))


def evaluation_line(status: Status, width: int) -> str:
    """Return a line about the last evaluation, to stand above the live one."""
    epoch = f"epoch {_of(status.epoch, status.epochs)}"
    found = ", ".join(text for text in _validation(status) if text)
    return f"{epoch}, step {status.step}: {found}" if width >= _USUAL else f"{epoch}: {found}"


def log_line(status: Status) -> str:
    """Return the status as keys and values with blanks between them, for a log."""
    if status.evaluating is not None:
        return _evaluating_log_line(status)
    pairs = _place(status)
    pairs |= {_key(name): f"{value:.6g}" for name, value in status.numbers.items()}
    if status.skipped:
        pairs["skipped"] = str(status.skipped)
    pairs["samples/s"] = f"{status.rate:.0f}"
    if status.left is not None:
        pairs["eta"] = spell_left(status.left)
    return _spelled(pairs)


def evaluation_log_line(status: Status) -> str:
    """Return the last evaluation as keys and values."""
    found = {f"validation/{_key(k)}": f"{v:.6g}" for k, v in status.validation.items()}
    return _spelled(_place(status) | found)


def _evaluating_log_line(status: Status) -> str:
    word, done = _evaluating(status)
    pairs = (_place(status) if status.epoch else {}) | {word: done}
    if not status.epoch and status.left is not None:
        pairs["eta"] = spell_left(status.left)
    return _spelled(pairs)


def _place(status: Status) -> dict[str, str]:
    return {"step": _of(status.step, status.total), "epoch": _of(status.epoch, status.epochs)}


def _spelled(pairs: Mapping[str, str]) -> str:
    return " ".join(f"{key} {value}" for key, value in pairs.items())


def _key(name: str) -> str:
    return "_".join(name.split())


def _of(count: int, total: int | None) -> str:
    return str(count) if total is None else f"{count}/{total}"


def number(value: float) -> str:
    """Return four digits, or a whole number with its thousands marked."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
