"""From findings of single steps to problems: what lasts, where it began, how to say it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from distgrad.observe.gradients.diagnosis import ADVICE, LOSS, Finding, Kind

_SHOWN = 8  # ranks and shards named in a line


@dataclass
class Problem:
    """One kind of trouble of one layer, from its first observed step to the last so far."""

    kind: Kind
    layer: str
    step: int
    """The first observed step."""
    last: int
    """The last observed step."""
    count: int
    """In how many observed steps."""
    gradient_norm: float
    """Of the first one; infinity if not finite."""
    reference: str
    """The numbers then: the norm, what it was compared with, the result."""
    shards: tuple[int, ...]
    """Whose own gradients stood out, then; empty if none did, or it is not known."""
    ranks: tuple[int, ...]
    """The owners of these shards."""

    @property
    def advice(self) -> str:
        """What usually helps, with sources."""
        return ADVICE[self.kind]

    def __str__(self) -> str:
        said = f"{self.kind}: '{self.layer}' at step {self.step}"
        if self.ranks:
            said += f" on {_listed('rank', self.ranks)} ({_listed('shard', self.shards)})"
        more = f"; {self.count} observed steps so far, the last {self.last}"
        return f"{said}: {self.reference}{more if self.count > 1 else ''}"


class Problems:
    """The problems found so far, and which layers had which in the newest ``history`` steps."""

    def __init__(self, layers: Sequence[str], patience: int, history: int) -> None:
        self.found: dict[tuple[Kind, str], Problem] = {}
        self.marks: deque[dict[int, Kind]] = deque(maxlen=history)
        """For each observed step, the kind by row."""
        self._layers, self._patience = layers, patience
        self._waiting: dict[tuple[Kind, int], list[tuple[int, Finding]]] = {}  # for patience
        self._ongoing: set[tuple[Kind, int]] = set()  # found in the last observed step

    def add(self, step: int, findings: Sequence[Finding], runs: Sequence[range]) -> None:
        """Add what was found in the next observed step; ``runs`` are each rank's shards.

        Vanishing and dead layers become a problem when found ``patience`` times in a row, from the
        first of these on.
        """
        self.marks.append({})
        waiting: dict[tuple[Kind, int], list[tuple[int, Finding]]] = {}
        ongoing: set[tuple[Kind, int]] = set()
        for f in findings:
            key = f.kind, f.row
            lasting = [*self._waiting.get(key, []), (step, f)]
            patient = f.kind in ("vanishing", "dead") and key not in self._ongoing
            if patient and len(lasting) < self._patience:
                waiting[key] = lasting
                continue
            ongoing.add(key)
            for i, (when, finding) in enumerate(lasting):
                self.marks[i - len(lasting)][f.row] = f.kind
                self._note(when, finding, runs)
        self._waiting, self._ongoing = waiting, ongoing

    def _note(self, step: int, f: Finding, runs: Sequence[range]) -> None:
        layer = "the loss" if f.row == LOSS else self._layers[f.row]
        known = self.found.get((f.kind, layer))
        if known is not None:
            known.last = step
            known.count += 1
            return
        ranks = tuple(r for r, run in enumerate(runs) if any(s in run for s in f.shards))
        self.found[f.kind, layer] = Problem(
            f.kind, layer, step, step, 1, f.value, f.reference, f.shards, ranks
        )


def _listed(what: str, numbers: tuple[int, ...]) -> str:
    more = ", …" if len(numbers) > _SHOWN else ""
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    return f"{what}{'s' if len(numbers) > 1 else ''} {shown}{more}"
