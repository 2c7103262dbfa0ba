"""Where a training stands, as numbers: what displays are handed, and what launchers pass on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Status:
    """Where a training stands after a step."""

    step: int
    total: int | None
    """How many steps there will be at most; None if nobody knows."""
    epoch: int
    """The epoch of the step, from 1; 0 if nothing is trained, only evaluated."""
    epochs: int | None
    numbers: Mapping[str, float]
    """Means over the steps of this epoch: the loss, then the metrics."""
    rate: float
    """Samples a second."""
    left: float | None
    """Seconds to the end, as far as can be told."""
    validation: Mapping[str, float] = field(default_factory=dict)
    """The last evaluation."""
    skipped: int = 0
    """Steps that were left out."""
    evaluating: int | None = None
    """Batches that are done of the evaluation under way; None if there is none."""
    batches: int | None = None
    """How many it has; None if nobody knows."""

    def as_json(self) -> dict[str, Any]:
        """Return what ``from_json`` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Status:
        """Return the status that ``as_json`` has written. Errors: TypeError for anything else."""
        return cls(**found)
