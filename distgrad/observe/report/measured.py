"""What a run has measured, by name, in one walk over its lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from distgrad.autograd.types import Array
from distgrad.observe.run import RunRecord
from distgrad.observe.run.layout import COLUMNS, VALIDATION

End: TypeAlias = Literal["min", "max"]


@dataclass(frozen=True)
class Series:
    """One quantity of one run."""

    steps: Array
    values: Array
    good: End | None = None
    """Which end of it is good; None if nobody knows."""
    chosen: bool = False
    """Whether its best decides which checkpoint is kept as the best: ``Trainer(best=)``."""

    @property
    def finite(self) -> Array:
        """Which values are neither NaN nor infinite."""
        found: Array = np.isfinite(self.values)
        return found

    @property
    def best(self) -> int | None:
        """The place of the best finite value, of several the first; None if nobody knows."""
        if self.good is None or not self.finite.any():
            return None
        upward = self.values if self.good == "max" else -self.values
        return int(np.argmax(np.where(self.finite, upward, -np.inf)))


def measured(record: RunRecord) -> dict[str, Series]:
    """Return all that a run has measured, in the order in which it first appears."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for row in record.metrics:
        step = row["step"]
        for name, value in row.items():
            if name in COLUMNS:
                continue
            if name not in found:
                found[name] = [], []
            found[name][0].append(step)
            found[name][1].append(value)
    chosen = _chosen(record.configuration)
    return {
        name: Series(np.array(steps, np.int64), np.array(values, np.float64), *_good(name, chosen))
        for name, (steps, values) in found.items()
    }


def _good(name: str, chosen: tuple[str, End] | None) -> tuple[End | None, bool]:
    """Return which end of a quantity is good, and whether its best decides what is kept."""
    if not is_validation(name):
        return None, False
    if chosen is not None and name == VALIDATION + chosen[0]:
        return chosen[1], True
    return "min" if name.endswith("loss") else None, False


def _chosen(configuration: Mapping[str, Any]) -> tuple[str, End] | None:
    """Return what ``Trainer(best=, best_mode=)`` asked for, as its record says."""
    trainer = configuration.get("trainer")  # a user's own setting of this name stands in its place
    match trainer.get("best") if isinstance(trainer, dict) else None:
        case {"name": str(name), "mode": "min" | "max" as mode}:
            return name, mode
    return None


def is_validation(name: str) -> bool:
    """Whether a quantity was measured by an evaluation within the training."""
    return name.startswith(VALIDATION)
