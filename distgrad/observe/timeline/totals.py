"""What one rank's steps add up to: seconds of each kind, layer and op. Numbers only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from distgrad.observe.timeline.spans import Flight, flights, spans
from distgrad.observe.timeline.tracer import SPAN, Note, Step

WARM_UP = 2
"""Steps that are not counted where there are others: kernels compile in them."""
_WHOLE = ("evaluation", "checkpoint")  # whatever is done inside


@dataclass
class Totals:
    """The sums over ``steps`` steps of one rank, which took ``seconds``."""

    steps: int
    seconds: float
    kinds: dict[str, float] = field(default_factory=dict)
    """Seconds of each kind of span, without what lies in it; the rest of ``seconds`` is other."""
    layers: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Forward and backward seconds of each module, without those of the modules in it."""
    ops: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Calls and seconds of each op, if they were recorded."""
    under_way: float = 0.0
    """Seconds in which at least one collective was in flight."""

    @property
    def other(self) -> float:
        """Seconds in nothing that has a name: loss functions, the user's own statements."""
        return max(0.0, self.seconds - sum(self.kinds.values()))


def totals(steps: Sequence[Step]) -> Totals:
    """Return the sums over the steps, but for the first ones if there are enough."""
    counted = steps[WARM_UP if len(steps) > 2 * WARM_UP else 0 :]
    notes = [note for step in counted for note in step.notes]
    found = Totals(len(counted), sum(step.ended - step.begun for step in counted))
    kinds: defaultdict[str, float] = defaultdict(float)
    layers: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for span in spans(note for note in notes if not _is_op(note)):
        whole = next((kind for kind in _WHOLE if kind in span.inside), "")
        kinds[whole or span.kind] += span.own
        if not whole and span.name and span.kind in ("forward", "backward"):
            layers[span.name][span.kind == "backward"] += span.own
    found.kinds = dict(kinds)
    found.layers = {name: (forward, backward) for name, (forward, backward) in layers.items()}
    found.ops = _ops(notes)
    found.under_way = _covered(flights(notes))
    return found


def _is_op(note: Note) -> bool:
    return bool(note[0] == SPAN and note[1] == "op")


def _ops(notes: Iterable[Note]) -> dict[str, tuple[int, float]]:
    ops: dict[str, tuple[int, float]] = {}
    for note in filter(_is_op, notes):
        _, _, name, begun, ended = note
        calls, seconds = ops.get(name, (0, 0.0))
        ops[name] = calls + 1, seconds + ended - begun
    return ops


def _covered(found: Iterable[Flight]) -> float:
    """Return the seconds in which at least one is under way."""
    total, until = 0.0, float("-inf")
    for flight in sorted(found, key=lambda f: f.begun):
        total += max(0.0, flight.ended - max(flight.begun, until))
        until = max(until, flight.ended)
    return total
