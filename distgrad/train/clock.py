"""The wall clock of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds since training began, and those of them that were spent on something else."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.lost = 0.0
        self.samples = 0

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count what is done inside as lost."""
        before = self.seconds
        yield
        self.lost += self.seconds - before
