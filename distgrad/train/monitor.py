"""The best evaluation so far: what early stopping and the best checkpoint look at."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any, Literal

from distgrad.errors import DistgradError
from distgrad.train.state import TrainState

Mode = Literal["min", "max"]


class Monitor:
    """Follows the number ``name`` of the evaluations; ``mode`` says which end of it is good.

    ``mode=None`` is "min" for the loss; of a metric it has to be said. Errors: DistgradError.
    """

    def __init__(
        self, whose: str, name: str, mode: Mode | None = None, min_delta: float = 0.0
    ) -> None:
        if mode is None and name != "loss":
            raise DistgradError(
                f"{whose}: is a large '{name}' good or bad? Say mode='max' or mode='min'"
            )
        if mode not in (None, "min", "max") or not min_delta >= 0:
            raise DistgradError(
                f"{whose}: mode={mode!r} is 'min' or 'max', and min_delta={min_delta} what the "
                f"best has to be beaten by, 0 or more"
            )
        self.whose, self.name, self.mode, self.min_delta = whose, name, mode, min_delta
        self._sign = -1.0 if mode == "max" else 1.0
        self.value = math.nan
        """The best one so far, NaN before the first; a NaN never is."""
        self.step = 0
        """When it was."""
        self._seen = 0

    def look(self, state: TrainState) -> bool | None:
        """Return whether the last evaluation is the best so far; None if it was looked at before.

        Errors: DistgradError if it has no such number.
        """
        if not state.evaluation or state.evaluation_step == self._seen:
            return None
        if self.name not in state.evaluation:
            known = ", ".join(sorted(state.evaluation))
            raise DistgradError(f"{self.whose}: no '{self.name}' in the evaluation; it has {known}")
        self._seen = state.evaluation_step
        found = state.evaluation[self.name]
        best = self._sign * self.value
        if math.isnan(found) or self._sign * found >= best - self.min_delta:
            return False
        self.value, self.step = found, state.evaluation_step
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the best one, when it was, and which was looked at last."""
        return {"value": self.value, "step": self.step, "seen": self._seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``."""
        self.value = float(state["value"])
        self.step, self._seen = operator.index(state["step"]), operator.index(state["seen"])
