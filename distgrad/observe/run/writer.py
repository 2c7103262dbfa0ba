"""Rank 0's side of a run: the files of a folder, one of which is replaced and the rest grow."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import Any

from distgrad.errors import DistgradError
from distgrad.files import replacing, shown
from distgrad.observe.run.append import Lines
from distgrad.observe.run.facts import now
from distgrad.observe.run.layout import FORMAT, HEALTH, METRICS, RUN, TIME
from distgrad.observe.run.read import read_facts, read_run

WRITTEN = 2.0
"""Seconds after which lines are handed over to the system: as much is lost in a kill."""
_SAVED = 60.0  # seconds between two times that run.json says how far it has come


class RunWriter:
    """Adds a part to the run in ``folder``, or begins one there.

    Errors: DistgradError for a folder with a run, unless ``resume``, and for what cannot be
    written.
    """

    def __init__(
        self, folder: Path, configuration: dict[str, Any], part: dict[str, Any], *, resume: bool
    ) -> None:
        self.folder, self.part = folder, part
        self.facts = _prepared(folder, part["started"], resume)
        self.facts["configuration"] = configuration
        self.facts["parts"].append(part)
        self.number: int = len(self.facts["parts"]) - 1
        self.start = perf_counter()
        self._files: dict[str, Lines] = {}
        self._written = self.start
        self.save()
        self._open(METRICS)

    def save(self) -> None:
        """Replace run.json. Errors: DistgradError if it cannot be written."""
        self._saved = perf_counter()
        path = self.folder / RUN
        try:
            with replacing(path, durable=True) as file:
                file.write(json.dumps(self.facts, indent=1, allow_nan=False).encode() + b"\n")
        except OSError as error:
            raise DistgradError(
                f"{shown(path)} cannot be written: {error.strerror or error}"
            ) from None

    def metrics(self, step: int, epoch: int | None, numbers: dict[str, float]) -> None:
        """Add a line of what was measured."""
        row: dict[str, Any] = {"part": self.number, "step": step}
        if epoch is not None:
            row["epoch"] = epoch
        row["seconds"] = round(perf_counter() - self.start, 6)
        self.part["last_step"] = step
        self._add(METRICS, row | numbers)

    def time(self, step: int, steps: int, ranks: list[list[float]]) -> None:
        """Add a line of where the time of the last ``steps`` steps went."""
        self._add(TIME, {"part": self.number, "step": step, "steps": steps, "ranks": ranks})

    def health(self, step: int, layers: dict[str, float], problems: list[str]) -> None:
        """Add a line of the gradients' norms."""
        row = {"part": self.number, "step": step, "layers": layers, "problems": problems}
        self._add(HEALTH, row)

    def write(self) -> None:
        """Hand all lines over to the system."""
        self._written = perf_counter()
        for file in self._files.values():
            file.write()

    def close(self, ended_by: str) -> None:
        """End the part. Errors: DistgradError if something could not be written."""
        self.part |= {"ended": now(), "ended_by": ended_by}
        for file in self._files.values():
            file.close()
        self.save()

    def _add(self, name: str, row: dict[str, Any]) -> None:
        self._open(name).add(row)
        seen = perf_counter()
        if seen - self._written > WRITTEN:
            self.write()
            if seen - self._saved > _SAVED:
                self.save()

    def _open(self, name: str) -> Lines:
        if name not in self._files:
            self._files[name] = Lines(self.folder / name)
        return self._files[name]


def _prepared(folder: Path, started: str, resume: bool) -> dict[str, Any]:
    """Make the folder, if need be; return its run.json, or a new one's content."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = (folder / RUN).exists()
    except (OSError, ValueError) as error:
        raise DistgradError(f"{shown(folder)} cannot be made a run folder: {error}") from None
    if not there:
        named = {"name": folder.resolve().name, "created": started}
        return {"format": FORMAT, **named, "configuration": {}, "parts": []}
    facts = read_facts(folder)
    if not resume:
        raise DistgradError(
            f"{shown(folder)} holds a run that began {facts['created']}; continue it with "
            f"resume=True (--resume, where the script has it), or name another folder"
        )
    read_run(folder)  # what is damaged is better said now than at the end
    return facts
