"""Who else hears of a run's numbers: the two methods of a logger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Logger(Protocol):
    """What hears of a run on rank 0: Lightning's loggers do, and any class with these two methods.

    If it has Lightning's ``finalize(status)`` as well, that is called where a part ends, with
    "success" or "failed".
    """

    def log_hyperparams(self, params: Mapping[str, Any]) -> object:
        """Take the configuration, by names like ``optimizer/lr``; called where a part begins."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> object:
        """Take what was measured at ``step``."""
