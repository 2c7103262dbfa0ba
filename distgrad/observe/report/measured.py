"""What a run has measured, by name, in one walk over its lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distgrad.autograd.types import Array
from distgrad.observe.run import RunRecord
from distgrad.observe.run.layout import COLUMNS, VALIDATION


@dataclass(frozen=True)
class Series:
    """One quantity of one run."""

    steps: Array
    values: Array

    @property
    def finite(self) -> Array:
        """Which values are neither NaN nor infinite."""
        found: Array = np.isfinite(self.values)
        return found

    @property
    def lowest(self) -> int | None:
        """The place of the lowest finite value; None if there is none."""
        if not self.finite.any():
            return None
        return int(np.argmin(np.where(self.finite, self.values, np.inf)))


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
    return {
        name: Series(np.array(steps, np.int64), np.array(values, np.float64))
        for name, (steps, values) in found.items()
    }


def is_validation(name: str) -> bool:
    """Whether a quantity was measured by an evaluation within the training."""
    return name.startswith(VALIDATION)
