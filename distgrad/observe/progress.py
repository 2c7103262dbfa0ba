"""How a training goes, shown on rank 0 only, and never in the way of the numbers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from distgrad.observe.terminal import Display, Row, Status, choose, displayed

Batch = TypeVar("Batch")

LONG = 0.5
"""Seconds from which on an evaluation takes long."""


class Progress:
    """Shows steps as they are done: a live line on a terminal, lines in a log.

    ``with Progress(rank=world.rank, total=steps) as progress:`` around the loop, on every rank;
    if it is not ``visible`` nothing is shown. ``total`` is how many steps there will be, if that is
    known, ``done`` how many there were before, ``per_epoch`` how many make an epoch. On a terminal
    there is one live line, also under ``distgrad run``; elsewhere, or with DISTGRAD_PLAIN=1, a
    line every 10 s (30 s in a batch job).
    """

    def __init__(
        self,
        *,
        rank: int,
        total: int | None,
        done: int = 0,
        per_epoch: int | None = None,
        visible: bool = True,
    ) -> None:
        self._visible = visible
        self._display: Display | None = None
        if visible and rank == 0:
            self._display = choose(os.environ, sys.stderr)
        self._around: AbstractContextManager[object] = nullcontext()
        self._total, self._step = total, done
        self._epochs = -(-total // per_epoch) if total and per_epoch else None
        self._epoch, self._steps = done // per_epoch if per_epoch else 0, 0
        self._sums: dict[str, float] = {}
        self._validation: Mapping[str, float] = {}
        self._rate, self._skipped = 0.0, 0
        self._evaluating: tuple[int, int | None] | None = None
        self._due = 0.0
        self._since: tuple[float, int] | None = None  # the end of the first step, which compiles

    def step(
        self, epoch: int, numbers: Mapping[str, float], *, rate: float = 0.0, skipped: int = 0
    ) -> None:
        """Hear of a step of an ``epoch`` (from 0): its loss and metrics, samples a second so far.

        What is shown of ``numbers`` is the mean over the epoch. The numbers of a step by which
        ``skipped`` has grown are left out.
        """
        if self._display is None:
            return
        self._evaluating = None  # one that has raised is over, too
        if epoch != self._epoch:
            self._epoch, self._steps, self._sums = epoch, 0, {}
        if skipped == self._skipped:
            self._steps += 1
            sums = self._sums
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + value
        self._step += 1
        self._rate, self._skipped = rate, skipped
        now = time.perf_counter()
        self._since = self._since or (now, self._step)
        if now >= self._due:
            self._due = now + self._display.interval
            self._display.show(self.status())

    def evaluating(self, batches: Iterable[Batch], total: int | None = None) -> Iterator[Batch]:
        """Yield the batches of an evaluation, and show how many are done if it takes long.

        ``total`` is how many there will be, if that is known.
        """
        display = self._display
        if display is None:
            yield from batches
            return
        due = time.perf_counter() + max(LONG, display.interval)
        for done, batch in enumerate(batches):
            self._evaluating = done, total
            now = time.perf_counter()
            if now >= due:
                due = now + display.interval
                display.show(self.status())
            yield batch
        self._evaluating = None

    def evaluated(self, numbers: Mapping[str, float]) -> None:
        """Hear of an evaluation's loss and metrics."""
        if self._display is not None:
            self._validation = dict(numbers)
            self._display.evaluated(self.status())

    def say(self, message: str) -> None:
        """Show a message of one line or more, above a live line."""
        if self._display is not None:
            self._display.say(message)

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Show a table of names and values."""
        if self._display is not None:
            self._display.table(title, rows)

    def status(self) -> Status:
        """Return where the training stands."""
        count = max(1, self._steps)
        evaluating, batches = self._evaluating or (None, None)
        return Status(
            step=self._step,
            total=self._total,
            epoch=self._epoch + 1,
            epochs=self._epochs,
            numbers={name: value / count for name, value in self._sums.items()},
            rate=self._rate,
            left=self._seconds_left(),
            validation=self._validation,
            skipped=self._skipped,
            evaluating=evaluating,
            batches=batches,
        )

    def _seconds_left(self) -> float | None:
        if self._total is None or self._since is None:
            return None
        since, first = self._since
        done = self._step - first
        if not done:
            return None
        return (time.perf_counter() - since) / done * max(0, self._total - self._step)

    def __enter__(self) -> Progress:
        if self._visible:
            self._around = displayed(self._display)
        self._around.__enter__()
        if self._display is not None and self._display.live:
            self._display.show(self.status())  # the first step may take long
        return self

    def __exit__(self, *error: Any) -> None:
        self._around.__exit__(*error)
