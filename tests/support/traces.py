"""Reading a trace file, and checking it against the rules of the Trace Event Format."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

FIELDS = {
    "X": {"ph", "pid", "tid", "ts", "dur", "name", "cat"},
    "M": {"ph", "pid", "tid", "name", "args"},
    "s": {"ph", "pid", "tid", "ts", "name", "cat", "id"},
    "f": {"ph", "pid", "tid", "ts", "name", "cat", "id", "bp"},
}


def events_of(path: Path) -> list[dict[str, Any]]:
    """Return the events of a valid trace file; AssertionError for one that is not."""
    found = json.loads(path.read_text(encoding="utf-8"))
    assert set(found) == {"displayTimeUnit", "traceEvents"}
    events = found["traceEvents"]
    for event in events:
        assert FIELDS[event["ph"]] <= set(event) <= FIELDS[event["ph"]] | {"args"}, event
        assert type(event["pid"]) is type(event["tid"]) is int
        assert event.get("ts", 0) >= 0 <= event.get("dur", 0), event
    threads = by_thread(events)
    for thread, slices in threads.items():
        nested(thread, slices)
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert {*threads} <= named
    arrows(events, threads)
    return events


def by_thread(events: list[dict[str, Any]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Return the slices of each (process, thread), in the order of the file."""
    found: defaultdict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            found[event["pid"], event["tid"]].append(event)
    return found


def nested(thread: tuple[int, int], slices: list[dict[str, Any]]) -> None:
    """Check that slices stand in the order of their beginnings, and lie in each other or apart."""
    stack: list[tuple[int, int]] = []
    before = 0
    for event in slices:
        begin = round(event["ts"] * 1000)
        end = begin + round(event["dur"] * 1000)
        assert begin >= before, (thread, event)
        before = begin
        while stack and stack[-1][1] <= begin:
            stack.pop()
        assert not stack or end <= stack[-1][1], (thread, event)
        stack.append((begin, end))


def arrows(events: list[dict[str, Any]], threads: dict[tuple[int, int], Any]) -> None:
    """Check that arrows have both ends, forward in time, each in a slice."""
    ends: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event["ph"] in "sf":
            ends[event["id"]].append(event)
            slices = threads[event["pid"], event["tid"]]
            # The file's times are rounded to a nanosecond.
            assert any(
                s["ts"] - 0.0015 <= event["ts"] <= s["ts"] + s["dur"] + 0.0015 for s in slices
            ), event
    for pair in ends.values():
        assert [event["ph"] for event in pair] == ["s", "f"]
        assert pair[0]["ts"] <= pair[1]["ts"]
        assert pair[0]["pid"] != pair[1]["pid"]


def slices_of(events: list[dict[str, Any]], kind: str, rank: int = 0) -> list[dict[str, Any]]:
    """Return a rank's slices of a kind."""
    return [e for e in events if e["ph"] == "X" and e["cat"] == kind and e["pid"] == rank]


def names_of(events: list[dict[str, Any]], kind: str, rank: int = 0) -> dict[str, int]:
    """Return how often each name occurs among a rank's slices of a kind."""
    names = [e["name"] for e in slices_of(events, kind, rank)]
    return {name: names.count(name) for name in names}
