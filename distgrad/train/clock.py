"""The wall clock of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from distgrad.observe import TimeSplit


class Clock:
    """Seconds since training began, and those of them that were spent on something else."""

    def __init__(self, split: TimeSplit | None = None) -> None:
        self._split = split
        self._start = time.perf_counter()
        self.lost = 0.0
        self.samples = 0

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count what is done inside as lost, and leave it out of the time split."""
        before = self.seconds
        with self._split.paused() if self._split is not None else nullcontext():
            yield
        self.lost += self.seconds - before
