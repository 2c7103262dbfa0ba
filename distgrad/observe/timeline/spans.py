"""What a rank's notes come to: spans of time that lie in each other, and collectives in flight."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from distgrad.observe.timeline.tracer import (
    BACK,
    BACK_END,
    BEGIN,
    END,
    ENTER,
    FLIGHT,
    LEAVE,
    PAUSE,
    SPAN,
    WALK,
    WALK_END,
    Note,
)

_ARRAY = re.compile(r" ([a-z]+\d+) x (\d+)")
_HELD_UP = ("waiting", "transfer")

Interval: TypeAlias = "tuple[str, str, float, float]"
"""Kind, name, begun, ended."""


class Span(NamedTuple):
    """Something a rank did, from ``begun`` to ``ended`` (s)."""

    kind: str
    name: str
    begun: float
    ended: float
    depth: int
    """How many others it lies in."""
    own: float
    """Seconds that are in no other inside it."""
    inside: tuple[str, ...]
    """The kinds it lies in, the outermost first."""


class Flight(NamedTuple):
    """A collective under way on a rank, from its start to when this rank had its result (s)."""

    context: str
    number: int
    name: str
    begun: float
    ended: float

    @property
    def nbytes(self) -> int:
        """The bytes of its array; 0 for what has none, or several."""
        found = _ARRAY.search(self.name.rpartition("'")[2])
        return 0 if found is None else np.dtype(found[1]).itemsize * int(found[2])


def flights(notes: Iterable[Note]) -> list[Flight]:
    """Return the collectives, in the order in which they ended."""
    return [Flight(*note[1:]) for note in notes if note[0] == FLIGHT]


def spans(notes: Iterable[Note], more: Iterable[Interval] = ()) -> list[Span]:
    """Return all spans by their beginnings, each before those that lie in it.

    ``more`` are others to put among them.
    """
    found = [*more, *_intervals(notes, {})]
    ends = sorted({time for kind, _, *both in found if kind not in _HELD_UP for time in both})
    cut = [part for interval in found for part in _cut(interval, ends)]
    return _nested(sorted(cut, key=lambda s: (s[2], -s[3])))


def _cut(interval: Interval, ends: Sequence[float]) -> Iterator[Interval]:
    """Yield the parts of a wait that had begun before what it is waited for in."""
    kind, name, begun, ended = interval
    if kind in _HELD_UP:
        for time in ends[bisect_right(ends, begun) : bisect_left(ends, ended)]:
            yield kind, name, begun, time
            begun = time
    yield kind, name, begun, ended


def _intervals(notes: Iterable[Note], names: dict[int, str]) -> Iterator[Interval]:
    """Yield (kind, name, begun, ended); what has no beginning or end among the notes is left out.

    It may have begun before the first step that was kept, or not be over.
    """
    layers: list[tuple[Any, float]] = []
    backward: list[tuple[Any, float]] = []
    told: list[tuple[str, str, float]] = []
    for code, *rest in notes:
        if code == ENTER:
            if not layers:
                _name(rest[0], names)
            layers.append((rest[0], rest[2]))
        elif code == LEAVE and (begun := _taken(layers, rest[0])) is not None:
            yield "forward", _called(rest[0], names), begun, rest[2]
        elif code in (BACK, WALK):
            backward.append((rest[0], rest[1]))
        elif code in (BACK_END, WALK_END) and (begun := _taken(backward, rest[0])) is not None:
            yield "backward", "" if code == WALK_END else _called(rest[0], names), begun, rest[1]
        elif code == BEGIN:
            told.append((rest[0], rest[1], rest[2]))
        elif code == END and told:
            kind, name, begun = told.pop()
            yield kind, name, begun, rest[0]
        elif code == PAUSE:
            for stack in (layers, backward, told):
                stack.clear()
        elif code == SPAN:
            yield rest[0], rest[1], rest[2], rest[3]


def _taken(stack: list[tuple[Any, float]], module: Any) -> float | None:
    """Take what belongs to ``module`` from the stack, and what lies above it and never ended."""
    for place in range(len(stack) - 1, -1, -1):
        if stack[place][0] is module:
            begun = stack[place][1]
            del stack[place:]
            return begun
    return None


def _name(root: Any, names: dict[int, str]) -> None:
    """Name a module that is called from outside, and all that are in it."""
    if id(root) in names:
        return
    for name, module in root.named_modules():
        names.setdefault(id(module), name or type(root).__name__)


def _called(module: Any, names: dict[int, str]) -> str:
    name, kind = names.get(id(module), ""), type(module).__name__
    return name if name == kind else f"{name} ({kind})" if name else kind


def _nested(found: Sequence[Interval]) -> list[Span]:
    """Return the spans with what they lie in; one that ends later than what holds it ends there."""
    result: list[Span] = []
    own: list[float] = []
    stack: list[int] = []  # of places in the result
    for kind, name, begun, until in found:
        ended = until
        while stack and result[stack[-1]].ended <= begun:
            stack.pop()
        if stack:
            ended = min(ended, result[stack[-1]].ended)
            own[stack[-1]] -= ended - begun
        kinds = tuple([result[place].kind for place in stack])
        stack.append(len(result))
        own.append(ended - begun)
        result.append(Span(kind, name, begun, ended, len(kinds), 0.0, kinds))
    return [span._replace(own=seconds) for span, seconds in zip(result, own, strict=True)]
