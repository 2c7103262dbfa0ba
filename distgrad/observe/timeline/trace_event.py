"""A timeline in the Trace Event Format, which Perfetto and chrome://tracing read.

A rank is a process, with a thread for what it does and one for each collective that is in flight at
the same time. Format: "Trace Event Format" of the Chromium project.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import IO, Any, NamedTuple

from distgrad.observe.timeline.lines import Line

PYTHON = 0
"""The thread of what a rank does; collectives in flight are on 1, 2, …"""
_ARROW = 50e-6  # seconds of waiting from which on it is drawn for whom


class _Meeting(NamedTuple):
    """A rank's part in a collective: its thread, and when it came."""

    rank: int
    thread: int
    start: float


class TraceWriter:
    """Writes the events of rank after rank to ``file``; ``close`` adds who waited for whom."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._first = file, True
        self._last: dict[tuple[str, int], _Meeting] = {}  # who came last to each collective
        self._waits: list[tuple[int, Line]] = []
        file.write('{"displayTimeUnit": "ms", "traceEvents": [')

    def add(self, rank: int, host: str, lines: Iterable[Line]) -> None:
        """Write the events of one rank; lines of a lane are in the order of their beginnings."""
        self._write(_named(rank, "process_name", {"name": f"rank {rank} on {host}"}))
        self._write(_named(rank, "process_sort_index", {"sort_index": rank}))
        self._write(_named(rank, "thread_name", {"name": "python"}, PYTHON))
        threads = 0
        for line in lines:
            if line.lane > threads:
                threads = line.lane
                name = f"in flight {threads}"
                self._write(_named(rank, "thread_name", {"name": name}, threads))
            self._write(_event(rank, line))
            if line.key is None:
                continue
            if line.kind == "collective":
                met = self._last.get(line.key)
                if met is None or line.start > met.start:
                    self._last[line.key] = _Meeting(rank, line.lane, line.start)
            elif line.end - line.start >= _ARROW:
                self._waits.append((rank, line))

    def close(self) -> None:
        """Write the end, and arrows from the rank that came last to each that waited for it."""
        for number, (rank, line) in enumerate(self._waits):
            last = None if line.key is None else self._last.get(line.key)
            if last is None or last.rank == rank or not line.start <= last.start <= line.end:
                continue
            common = {"name": "waited for", "cat": "waiting", "id": number}
            came = {"ph": "s", "pid": last.rank, "tid": last.thread, "ts": _us(last.start)}
            # Just before the wait ends, which is when the message of the other has come.
            over = max(last.start, line.end - 1e-6)
            went_on = {"ph": "f", "bp": "e", "pid": rank, "tid": PYTHON, "ts": _us(over)}
            self._write({**common, **came})
            self._write({**common, **went_on})
        self._file.write("\n]}\n")

    def _write(self, event: Mapping[str, Any]) -> None:
        self._file.write(("\n" if self._first else ",\n") + json.dumps(event, ensure_ascii=False))
        self._first = False


def _named(rank: int, what: str, args: Mapping[str, Any], thread: int = PYTHON) -> dict[str, Any]:
    return {"ph": "M", "pid": rank, "tid": thread, "name": what, "args": args}


def _event(rank: int, line: Line) -> dict[str, Any]:
    # Both ends are rounded, not the duration: what lies in another stays in it.
    start = _us(line.start)
    event = {
        "ph": "X",
        "pid": rank,
        "tid": line.lane,
        "ts": start,
        "dur": round(_us(line.end) - start, 3),
        "name": line.name or line.kind,
        "cat": line.kind,
    }
    args = {k: v for k, v in (("step", line.step), ("bytes", line.nbytes or None)) if v is not None}
    return {**event, "args": args} if args else event


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)
