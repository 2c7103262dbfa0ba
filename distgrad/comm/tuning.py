"""Thresholds as ``distgrad bench --tune`` has measured them on a cluster, and the file they are in.

A threshold that was not measured is the constant of the code that uses it. It measures nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distgrad.errors import DistgradError
from distgrad.switches import off

VARIABLE = "DISTGRAD_TUNING"
"""Names the file, or is "off"."""
_FORMAT = 1
_MOST = 1 << 20  # bytes of a file that may be one
_ANEW = f"`distgrad bench --tune` on the cluster makes it anew, {VARIABLE}=off leaves it unread"

Entry = dict[str, Any]
"""One cluster and what was measured on it, as JSON carries them."""


@dataclass(frozen=True)
class Tuning:
    """What was measured; None: it was not."""

    ring_bytes: int | None = None
    """Instead of algorithms.RING_BYTES."""
    halving_bytes: int | None = None
    """Instead of algorithms.tree.HALVING_BYTES."""
    bucket_mb: float | None = None
    """Instead of parallel.ddp.BUCKET_MB."""


DEFAULTS = Tuning()


def path_of(environ: Mapping[str, str]) -> Path | None:
    """Return the file of tunings, which need not exist; None where none is wanted.

    $DISTGRAD_TUNING, else distgrad/tuning.json in $XDG_CACHE_HOME or ~/.cache.
    """
    chosen = environ.get(VARIABLE, "")
    if off(environ, VARIABLE):
        return None
    if chosen:
        return Path(chosen)
    cache = environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "distgrad" / "tuning.json"


def stored(environ: Mapping[str, str]) -> tuple[list[Entry], str]:
    """Return what the file holds, nothing where there is none, and a warning if it is broken."""
    path = path_of(environ)
    if path is None:
        return [], ""
    try:
        return entries(path), ""
    except DistgradError as error:
        return [], f"{error}; the defaults are used. {_ANEW}"


def entries(path: Path) -> list[Entry]:
    """Return the entries of a file, none where it does not exist. Errors: DistgradError."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DistgradError(f"the tuning {path} cannot be read ({error.strerror})") from error
    try:
        if len(data) > _MOST:
            raise ValueError("it is too long for one")
        return _checked(json.loads(data))
    except (ValueError, RecursionError) as error:  # a JSONDecodeError is a ValueError
        reason = "it is no JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise DistgradError(f"{path} is no tuning that this distgrad can read: {reason}") from error


def _checked(content: Any) -> list[Entry]:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"it has not the format {_FORMAT}")
    found = content.get("tunings")
    if not isinstance(found, list) or not all(isinstance(e, dict) for e in found):
        raise ValueError("it has no list of tunings")
    for entry in found:
        measured = entry.get("measured")
        if not isinstance(entry.get("cluster"), dict) or not isinstance(measured, dict):
            raise ValueError("a tuning lacks its cluster or what was measured")
        for name, value in measured.items():
            _check(name, value)
    return found


def _check(name: str, value: Any) -> None:
    if name not in asdict(DEFAULTS):
        raise ValueError(f"it has a threshold {name!r}, which is unknown here")
    number = int | float if name == "bucket_mb" else int
    least = 1e-6 if name == "bucket_mb" else 0
    fits = isinstance(value, number) and not isinstance(value, bool)
    if value is not None and not (fits and least <= value < 1 << 40):
        raise ValueError(f"{name} is {value!r}")


def pick(found: Sequence[Entry], cluster: Entry) -> Tuning:
    """Return what was measured on this cluster, the defaults if nothing was."""
    measured: dict[str, Any] = next((e["measured"] for e in found if e["cluster"] == cluster), {})
    return Tuning(**measured)


def text_of(found: Sequence[Entry], cluster: Entry, tuning: Tuning) -> str:
    """Return a file's text: the entries there were, with this cluster's in place of its old one."""
    others = [e for e in found if e["cluster"] != cluster]
    kept = [*others, {"cluster": cluster, "measured": asdict(tuning)}]
    return json.dumps({"format": _FORMAT, "tunings": kept}, indent=2) + "\n"
