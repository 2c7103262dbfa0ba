"""A rank's timeline as lines: what is sent to rank 0, and stands in ``rank-N.jsonl``."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from distgrad.observe.timeline.clock import Clock
from distgrad.observe.timeline.spans import Flight, Span, flights, spans
from distgrad.observe.timeline.tracer import Step


@dataclass(frozen=True)
class Line:
    """A span or a collective in flight; times in seconds since the timeline began, on rank 0."""

    lane: int
    """0 for what the rank does; 1, 2, … for collectives that are in flight at the same time."""
    kind: str
    name: str
    start: float
    end: float
    step: int | None = None
    nbytes: int = 0
    key: tuple[str, int] | None = None
    """Which collective it is, or waits for: its context and number."""

    def as_json(self) -> str:
        """Return it as a line of JSON, without what it does not have."""
        found: dict[str, Any] = {
            "lane": self.lane,
            "kind": self.kind,
            "name": self.name,
            "start": self.start,
            "end": self.end,
        }
        if self.step is not None:
            found["step"] = self.step
        if self.nbytes:
            found["bytes"] = self.nbytes
        if self.key is not None:
            found["collective"] = self.key
        return json.dumps(found, ensure_ascii=False)

    @classmethod
    def of_json(cls, text: str) -> Line:
        """Return the line that ``as_json`` has written."""
        found = json.loads(text)
        key = found.get("collective")
        return cls(
            found["lane"],
            found["kind"],
            found["name"],
            found["start"],
            found["end"],
            found.get("step"),
            found.get("bytes", 0),
            None if key is None else (str(key[0]), int(key[1])),
        )


def lines(steps: Sequence[Step], clock: Clock, origin: float) -> Iterator[Line]:
    """Yield the lines of a rank: its steps and spans by beginnings, then the collectives.

    ``origin`` is when the timeline began, on rank 0's clock.
    """
    notes = [note for step in steps for note in step.notes]
    flown = flights(notes)
    waited = _Waited(flown)
    starts, numbers = [step.begun for step in steps], [step.number for step in steps]

    def since(time: float) -> float:
        return round(clock.aligned(time) - origin, 9)

    whole = [("step", f"step {s.number}", s.begun, s.ended) for s in steps]
    for span in spans(notes, whole):
        place = bisect_right(starts, span.begun) - 1
        step = numbers[place] if place >= 0 else None
        key = waited.key(span) if span.kind == "waiting" else None
        yield Line(0, span.kind, span.name, since(span.begun), since(span.ended), step, 0, key)
    for lane, flight in _lanes(flown):
        start, end, size = since(flight.begun), since(flight.ended), flight.nbytes
        key = flight.context, flight.number
        yield Line(lane, "collective", flight.name, start, end, None, size, key)


def _lanes(flown: Iterable[Flight]) -> Iterator[tuple[int, Flight]]:
    """Yield the flights by their beginnings, each with a lane that is free then."""
    until: list[float] = []
    for flight in sorted(flown, key=lambda f: f.begun):
        lane = next((i for i, end in enumerate(until) if end <= flight.begun), len(until))
        until[lane : lane + 1] = [flight.ended]
        yield lane + 1, flight


class _Waited:
    """Which collective a rank waited for: one of that name, under way meanwhile."""

    def __init__(self, flown: Iterable[Flight]) -> None:
        self._named: defaultdict[str, list[Flight]] = defaultdict(list)
        for flight in sorted(flown, key=lambda f: f.begun):
            self._named[flight.name].append(flight)

    def key(self, span: Span) -> tuple[str, int] | None:
        found = self._named[span.name]
        place = bisect_right(found, span.ended, key=lambda f: f.begun) - 1
        if place < 0 or found[place].ended < span.begun:
            return None
        return found[place].context, found[place].number
