"""What the runs were made with, side by side: configuration, environment, history."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distgrad.observe.report.gather import Report, Run
from distgrad.observe.report.words import spell_moment
from distgrad.observe.run import Part

MISSING = "–"


@dataclass(frozen=True)
class Comparison:
    """A value of each run under one name."""

    name: str
    values: list[str]

    @property
    def differs(self) -> bool:
        """Whether the runs do not all have the same."""
        return len(set(self.values)) > 1


def configuration(report: Report) -> list[Comparison]:
    """Return what the user has configured, nested settings as ``a.b``."""
    return _compared([_flat(run.record.configuration) for run in report.runs])


def environment(report: Report) -> list[Comparison]:
    """Return what the newest part of each run ran on."""
    return _compared([_environment(run) for run in report.runs])


def _compared(runs: list[dict[str, str]]) -> list[Comparison]:
    names = dict.fromkeys(name for run in runs for name in run)
    return [Comparison(name, [run.get(name, MISSING) for run in runs]) for name in names]


def _environment(run: Run) -> dict[str, str]:
    if not run.record.parts:
        return {}
    part = run.record.parts[-1]
    return {
        "folder": str(run.record.folder),
        "command": shlex.join(part.command),
        "working directory": part.working_directory,
        "ranks": str(part.ranks),
        "shards": MISSING if part.shards is None else str(part.shards),
        "hosts": hosts(part),
        **_git(part),
        **_flat(part.versions, "version of "),
        **_flat(part.numerics, "numerics: "),
        **_flat(part.environment),
    }


def _git(part: Part) -> dict[str, str]:
    if part.git is None:
        return {"git": "not in a repository"}
    changed = "with changes that are not committed" if part.git.get("changed") else "unchanged"
    branch = part.git.get("branch") or "no branch"
    return {"git": f"{part.git.get('commit')} ({branch}), {changed}"}


def typed(part: Part) -> str:
    """Return a part's command as one would type it: with the interpreter's name, not its path."""
    first, *others = part.command or [""]
    name = Path(first).name
    return shlex.join([name if name.startswith("python") else first, *others])


def hosts(part: Part) -> str:
    """Return the hosts of a part's ranks and how many ranks each has."""
    return ", ".join(f"{host} ({count})" for host, count in Counter(part.hosts).items())


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return nested settings by their path; lists of plain values are one value."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{before}{name}.")
        elif isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
            found |= _flat({str(i): v for i, v in enumerate(value)}, f"{before}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found[before + str(name)] = text
    return found


HISTORY = (
    "run",
    "part",
    "began",
    "ended",
    "steps",
    "ended by",
    "ranks",
    "hosts",
    "command",
    "commit",
    "hash of the parameters",
)


def history(report: Report) -> list[list[str]]:
    """Return a row for each part of each run, in the order of ``HISTORY``."""
    return [
        _part(run, number, part)
        for run in report.runs
        for number, part in enumerate(run.record.parts, start=1)
    ]


def _part(run: Run, number: int, part: Part) -> list[str]:
    first = MISSING if part.first_step is None else f"{part.first_step:,}"
    last = MISSING if part.last_step is None else f"{part.last_step:,}"
    commit = MISSING if part.git is None else str(part.git.get("commit"))[:10]
    return [
        run.name,
        str(number),
        spell_moment(part.started),
        "no end is recorded" if part.ended is None else spell_moment(part.ended),
        f"{first} to {last}",
        part.ended_by or MISSING,
        str(part.ranks),
        hosts(part),
        typed(part),
        commit,
        part.hash[:12] if part.hash else MISSING,
    ]
