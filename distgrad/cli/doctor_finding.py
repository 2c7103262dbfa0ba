"""What ``distgrad doctor`` finds, and how its checks are kept from stopping each other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

OK, NOTE, PROBLEM = "ok", "note", "problem"
STATES = (OK, NOTE, PROBLEM)

_PATIENCE = 150.0  # seconds; a kernel compiles in 1 to 10 s, and may wait a minute for its turn
_TRIED = 120.0  # seconds, in another process
_REPORT = "distgrad doctor --json doctor.json  # and attach the file to a bug report"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: str
    """Of ``STATES``."""
    text: str
    """What was found; equal wherever the same was found."""
    cure: str = ""
    """What to type, or to do, in one line; empty if nothing is needed."""
    figures: str = ""
    """What changes from moment to moment."""
    check: str = ""
    """Who looked; set by ``examine``."""


def ok(text: str, figures: str = "") -> Finding:
    """Return what is as it should be."""
    return Finding(OK, text, figures=figures)


def note(text: str, cure: str, figures: str = "") -> Finding:
    """Return what works, and could be better."""
    return Finding(NOTE, text, cure, figures)


def problem(text: str, cure: str, figures: str = "") -> Finding:
    """Return what will end a training, or make it much slower than it has to be."""
    return Finding(PROBLEM, text, cure, figures)


Check = Callable[[], Iterable[Finding]]


def examine(name: str, check: Check, patience: float = _PATIENCE) -> list[Finding]:
    """Return what a check finds, an exception that nobody expected and a check that hangs included.

    It runs in a thread of its own: a file server that is gone holds a thread for ever.
    """
    found: list[Finding] = []
    thread = threading.Thread(target=lambda: _fill(found, name, check), daemon=True)
    thread.start()
    thread.join(patience)
    if thread.is_alive():
        text = f"the check has not come back for {patience:.0f} s: a disk or a program hangs"
        return [*found, replace(problem(text, "df; ps -eo pid,stat,cmd | grep ' D'"), check=name)]
    return found


def examine_here(name: str, check: Check) -> list[Finding]:
    """Return what a check finds that has to run in this thread, as those on several ranks do."""
    found: list[Finding] = []
    _fill(found, name, check)
    return found


def _fill(found: list[Finding], name: str, check: Check) -> None:
    try:
        for finding in check():
            found.append(replace(finding, check=name))
    except Exception as error:  # that a check fails is what it has found
        text = f"the check itself failed: {type(error).__name__}: {one_line(str(error))}"
        found.append(replace(problem(text, _REPORT), check=name))


def one_line(text: str, most: int = 300) -> str:
    """Return a text of any shape as the findings show it."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


# -- in another process -----------------------------------------------------------------------


def tried(probe: str, patience: float = _TRIED) -> Mapping[str, Any]:
    """Return what a function of doctor_probe says, run in a process of its own.

    Code of others may end the process it is in. A key "fault" says that it did not come through.
    """
    command = [sys.executable, "-m", "distgrad.cli.doctor_probe", probe]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}  # the probe collects its own
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"fault": f"it has not come back for {patience:.0f} s"}
    except OSError as error:
        return {"fault": f"{sys.executable} cannot be started: {error.strerror or error}"}
    last = (done.stdout.splitlines() or [""])[-1]
    if done.returncode == 0 and last.startswith("{"):
        answer: dict[str, Any] = json.loads(last)
        return answer
    said = one_line(done.stderr[-300:])
    return {"fault": f"{_ended(done.returncode)}{': ' if said else ''}{said}"}


def _ended(status: int) -> str:
    if status < 0:
        return f"it was ended by signal {-status} ({signal.Signals(-status).name})"
    return f"it ended with status {status}"
