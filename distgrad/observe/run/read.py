"""Reading a run folder, finished, under way or killed; it needs no rank and no MPI.

The rules: a last line that was cut off is not there yet; what a later part did again is
superseded; of two lines with the same step and names the later one counts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import DistgradError
from distgrad.files import open_regular, read_all, shown
from distgrad.observe.run.layout import COLUMNS, FORMAT, HEALTH, METRICS, RUN, TIME, WORDS

Row = dict[str, Any]
"""A line of a JSONL file, with NaN and infinities as floats."""
_LISTED = 4  # run folders that an error names
_MOST = 1 << 26  # bytes of a run.json


@dataclass(frozen=True)
class Part:
    """A start or a restart of the training, as run.json has it."""

    started: str
    """When, ISO 8601, UTC."""
    ended: str | None
    """None while it runs, and for one that was killed."""
    first_step: int | None
    """Steps that had been done when it began; None if nobody has said yet."""
    last_step: int | None
    """Steps done at its end, or when run.json was last written."""
    total_steps: int | None
    """Steps there will be at most, if that is known."""
    ended_by: str | None
    """A criterion, a signal, or an error."""
    command: list[str]
    working_directory: str
    ranks: int
    shards: int | None
    hosts: list[str]
    """Of each rank."""
    threads: list[int]
    """Of each rank's matrix products; 0 if that is not known."""
    cores: list[str]
    """That each rank may run on, as the kernel spells them: "0-3,8"; "" if that is not known."""
    versions: dict[str, str | None]
    numerics: dict[str, Any]
    """What the bits depend on besides code, data and seed."""
    environment: dict[str, str]
    git: dict[str, Any] | None
    """``commit``, ``branch`` and whether it was ``changed``; None outside a repository."""
    parameters: int | None
    hash: str | None
    """Of the parameters at the end: ``nn.state_sha256``."""
    peak_memory: list[int] | None
    """Bytes of each rank."""


@dataclass(frozen=True)
class RunRecord:
    """All that a run folder tells, at the moment it was read."""

    folder: Path
    name: str
    created: str
    """When, ISO 8601, UTC."""
    configuration: dict[str, Any]
    parts: tuple[Part, ...]
    metrics: list[Row]
    """By step; each has ``part``, ``step``, ``seconds`` and what was measured."""
    time: list[Row]
    """By step; each has ``part``, ``step``, ``steps``, and ``ranks``, each rank's five seconds."""
    health: list[Row]
    """By step; each has ``part``, ``step``, ``layers`` and ``problems``."""

    @property
    def ended(self) -> bool:
        """Whether the newest part has come to its end; one that was killed has not."""
        return bool(self.parts) and self.parts[-1].ended is not None

    @property
    def names(self) -> list[str]:
        """What was measured, in the order in which it appears."""
        kinds = dict.fromkeys(tuple(row) for row in self.metrics)
        return [n for n in dict.fromkeys(n for kind in kinds for n in kind) if n not in COLUMNS]

    def series(self, name: str) -> tuple[Array, Array]:
        """Return the steps at which ``name`` was measured, and its values (float64)."""
        found = [(row["step"], row[name]) for row in self.metrics if name in row]
        steps, values = zip(*found, strict=True) if found else ((), ())
        return np.array(steps, np.int64), np.array(values, np.float64)


class RunReader:
    """Reads a run folder again and again, each time only what has been added.

    Errors: DistgradError where there is no run folder, or one that cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._metrics = JsonLines(self.folder / METRICS, _check_metrics)
        self._time = JsonLines(self.folder / TIME, _check_time)
        self._health = JsonLines(self.folder / HEALTH, _check_health)

    def read(self) -> RunRecord:
        """Return all that is there by now."""
        # The lines first: a part is in run.json before its first line is written.
        files = (self._metrics, self._time, self._health)
        lines = [file.read() for file in files]
        facts = read_facts(self.folder)
        parts = _parts(facts, self.folder / RUN)
        metrics, time, health = (in_force(rows, [p.first_step for p in parts]) for rows in lines)
        name, created, configuration = (facts[key] for key in ("name", "created", "configuration"))
        return RunRecord(self.folder, name, created, configuration, parts, metrics, time, health)


def read_run(folder: str | os.PathLike[str]) -> RunRecord:
    """Return all that a run folder tells. Errors: DistgradError, see RunReader."""
    return RunReader(folder).read()


def _no_run(folder: Path) -> str:
    """Say that a folder has no run, and which ones in it have."""
    if not folder.is_dir():
        return f"there is no folder {shown(folder)}; Trainer(run=…) and dg.observe.Run make them"
    inside = sorted(file.parent for file in folder.glob(f"*/{RUN}"))
    more = ", …" if len(inside) > _LISTED else ""
    advice = (
        f"name one of those in it: {', '.join(map(shown, inside[:_LISTED]))}{more}"
        if inside
        else "Trainer(run=…) and dg.observe.Run make one"
    )
    return f"{shown(folder)} is no run folder: it has no {RUN}; {advice}"


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what run.json holds. Errors: DistgradError naming the file and what to do."""
    path = folder / RUN
    try:
        with open_regular(path) as file:
            facts = json.loads(read_all(file, _MOST))
    except FileNotFoundError:
        raise DistgradError(_no_run(folder)) from None
    except OSError as error:
        raise DistgradError(f"{shown(path)} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(facts, dict) or type(facts.get("format")) is not int:
        raise _damaged(path, "it has no 'format'")
    if facts["format"] > FORMAT:
        raise DistgradError(
            f"{shown(path)} has format {facts['format']}, which a later distgrad has written; "
            f"this one reads up to {FORMAT}: install that version"
        )
    kinds = {"name": str, "created": str, "configuration": dict, "parts": list}
    for key, kind in kinds.items():
        if not isinstance(facts.get(key), kind):
            raise _damaged(path, f"'{key}' is no {kind.__name__}")
    return facts


class JsonLines:
    """A file of JSON objects, one a line, that grows at its end; what is missing is empty.

    ``check`` returns what is wrong with a row, or "". Errors: DistgradError naming the line.
    """

    def __init__(self, path: Path, check: Callable[[Row], str]) -> None:
        self.path, self._check = path, check
        self._rows: list[Row] = []
        self._place, self._lines = 0, 0

    def read(self) -> list[Row]:
        """Return all whole lines that are there by now, in the order in which they were written."""
        try:
            with open_regular(self.path) as file:
                if file.seek(0, os.SEEK_END) < self._place:  # another file by now
                    self._rows, self._place, self._lines = [], 0, 0
                file.seek(self._place)
                added = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            text = f"{shown(self.path)} cannot be read: {error.strerror or error}"
            raise DistgradError(text) from None
        whole = added[: added.rfind(b"\n") + 1]  # what follows was cut off, or is being written
        self._rows += self._parsed(whole.splitlines())
        self._place += len(whole)
        return self._rows

    def _parsed(self, lines: Sequence[bytes]) -> list[Row]:
        rows = []
        for line in lines:
            self._lines += 1
            try:
                row = json.loads(line)
            except ValueError as error:
                raise self._wrong(str(error)) from None
            whole = type(row) is dict and type(row.get("step")) is int
            if not whole or type(row.get("part")) is not int:
                raise self._wrong("a line is an object with the numbers 'part' and 'step'")
            if wrong := self._check(row):
                raise self._wrong(wrong)
            rows.append(row)
        return rows

    def _wrong(self, what: str) -> DistgradError:
        return _damaged(self.path, f"line {self._lines}: {what}; delete that line to read the rest")


def in_force(rows: Iterable[Row], first_steps: Sequence[int | None]) -> list[Row]:
    """Return the rows that count, by step: a part ends where a later one has begun again.

    Of rows with the same step and names the last one counts.
    """
    limits: list[float] = [np.inf] * max(1, len(first_steps))
    for part in range(len(first_steps) - 1, 0, -1):
        first = first_steps[part]
        limits[part - 1] = min(limits[part], np.inf if first is None else first)
    names: dict[tuple[str, ...], frozenset[str]] = {}
    found: dict[tuple[int, frozenset[str]], Row] = {}
    for row in rows:
        if row["step"] <= limits[min(row["part"], len(limits) - 1)]:
            order = tuple(row)
            key = names.get(order) or names.setdefault(order, frozenset(order))
            found[row["step"], key] = row
    return sorted(found.values(), key=lambda row: int(row["step"]))


# -- what a row must be ---------------------------------------------------------------------------


def _check_metrics(row: Row) -> str:
    for name, value in row.items():
        if type(value) is str and value in WORDS:
            row[name] = WORDS[value]
        elif type(value) is not float and type(value) is not int:
            return f"'{name}' is no number"
    return ""


def _check_time(row: Row) -> str:
    if type(row.get("steps")) is not int:
        return "'steps' is no number"
    ranks = row.get("ranks")
    if not isinstance(ranks, list) or not all(map(_is_split, ranks)):
        return "'ranks' is no list of five seconds for each rank"
    return ""


def _is_split(seconds: object) -> bool:
    return isinstance(seconds, list) and [type(s) in (float, int) for s in seconds] == [True] * 5


def _check_health(row: Row) -> str:
    layers, problems = row.get("layers"), row.get("problems")
    if not isinstance(layers, dict) or (wrong := _check_metrics(layers)):
        return wrong if isinstance(layers, dict) else "'layers' holds no norms"
    if not isinstance(problems, list) or not all(isinstance(p, str) for p in problems):
        return "'problems' is no list of sentences"
    return ""


def _parts(facts: dict[str, Any], path: Path) -> tuple[Part, ...]:
    names = [f.name for f in fields(Part)]
    for part in facts["parts"]:
        if not isinstance(part, dict) or (missing := set(names) - set(part)):
            raise _damaged(path, f"a part lacks {', '.join(sorted(missing))}")
        if not isinstance(part["cores"], list) or not all(map(_is_cores, part["cores"])):
            raise _damaged(path, "'cores' of a part is no list of texts like \"0-3,8\"")
    return tuple(Part(**{name: part[name] for name in names}) for part in facts["parts"])


def _is_cores(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[\d,-]*", text) is not None


def _damaged(path: Path, what: str) -> DistgradError:
    return DistgradError(f"{shown(path)} is damaged, or of another program: {what}")
