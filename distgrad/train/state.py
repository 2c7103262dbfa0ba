"""Where a training run stands: the same numbers on every rank."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainState:
    """Numbers after the last step; stop criteria and callbacks read them.

    All are equal on all ranks, so every rank takes the same decisions.
    """

    step: int = 0
    """Optimizer steps done since the beginning, resumed ones included."""
    epoch: int = 0
    """Epochs completed."""
    loss: float = float("nan")
    """Mean loss over the last global batch."""
    gradient_norm: float = float("nan")
    """2-norm of the gradient before clipping."""
    learning_rate: float = float("nan")
    """Of the last step, in the optimizer's first group."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Means over the last global batch."""
    evaluation: dict[str, float] = field(default_factory=dict)
    """The last evaluation: ``loss`` and the metrics' means."""
    evaluation_step: int = 0
    """After which step it was."""
    seconds: float = 0.0
    """Wall time of this run by rank 0's clock."""
    samples_per_second: float = 0.0
    """Throughput of this run over all ranks, evaluation and checkpoints left out."""
    skipped: int = 0
    """Steps left out because of a non-finite loss or gradient."""
    stopped: str = ""
    """Why training stopped."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run continues from."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "loss": self.loss,
            "evaluation": dict(self.evaluation),
            "evaluation_step": self.evaluation_step,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``."""
        numbers = (operator.index(state[name]) for name in ("step", "epoch", "skipped"))
        self.step, self.epoch, self.skipped = numbers
        self.loss = float(state["loss"])
        # Runs of before it was saved evaluated after their last step, or nobody asked.
        self.evaluation_step = operator.index(state.get("evaluation_step", self.step))
        self.evaluation = {name: float(value) for name, value in state["evaluation"].items()}
