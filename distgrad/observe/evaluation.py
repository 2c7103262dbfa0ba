"""How an evaluation goes that no training is around: it is shown if it takes long."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from distgrad.observe.progress import LONG
from distgrad.observe.terminal import Display, Status, choose, displayed

Batch = TypeVar("Batch")


@contextmanager
def evaluation(
    batches: Iterable[Batch], total: int | None, *, rank: int, visible: bool = True
) -> Iterator[Iterable[Batch]]:
    """Give the batches of an evaluation; while they are taken, how many are done is shown.

    ``with evaluation(loader, len(loader), rank=world.rank) as batches:``, on every rank; ``total``
    is None if it is not known. Within a training ``Progress.evaluating`` is for it.
    """
    with ExitStack() as stack:
        yield _Shown(total, rank, stack).through(batches) if visible else batches


class _Shown:
    """Shows on rank 0 how many batches are done; ``stack`` ends it."""

    def __init__(self, total: int | None, rank: int, stack: ExitStack) -> None:
        self._total, self._rank, self._stack = total, rank, stack
        self._display: Display | None = None
        self._begun = time.perf_counter()
        self._due = math.inf

    def through(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches."""
        done, is_long = 0, False
        for batch in batches:
            now = time.perf_counter()
            if not is_long and now >= self._begun + LONG:
                is_long = True
                self._begin()
            if now >= self._due:
                self._show(done, now)
            yield batch
            done += 1
        if self._display is not None and self._display.live:  # in a notebook the last one stays
            self._show(done, time.perf_counter())

    def _begin(self) -> None:
        self._display = choose(os.environ, sys.stderr) if self._rank == 0 else None
        self._stack.enter_context(displayed(self._display))
        if self._display is not None:  # a log has a line after its interval, if it takes so long
            self._due = self._begun + max(LONG, self._display.interval)

    def _show(self, done: int, now: float) -> None:
        assert self._display is not None
        self._due = now + self._display.interval
        left = (now - self._begun) / done * (self._total - done) if done and self._total else None
        self._display.show(
            Status(
                step=0,
                total=None,
                epoch=0,
                epochs=None,
                numbers={},
                rate=0.0,
                left=left,
                evaluating=done,
                batches=self._total,
            )
        )
