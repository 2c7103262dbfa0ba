"""The progress bar: on rank 0 only, never in the way of the numbers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from distgrad.comm.launchers import in_batch_job


class Progress:
    """A tqdm bar over training steps; on other ranks than 0, or if not ``visible``, nothing."""

    def __init__(self, *, visible: bool, total: int | None, done: int) -> None:
        self._bar: Any = None
        if visible:
            from tqdm import tqdm  # noqa: PLC0415 (import distgrad stays light)

            self._bar = tqdm(
                total=total,
                initial=done,
                unit="step",
                dynamic_ncols=True,
                mininterval=_interval(),
                file=sys.stderr if sys.stderr.isatty() else _Lines(sys.stderr),
            )

    def step(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Advance by one step and show ``numbers``."""
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch}", refresh=False)
            shown = ", ".join(f"{k} {_format(v)}" for k, v in numbers.items())
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(1)

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.write(message, file=self._bar.fp)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _interval() -> float:
    if sys.stderr.isatty():
        return 0.1
    # In a batch job's log a line twice a minute is enough.
    return 30.0 if in_batch_job(os.environ) else 2.0


class _Lines:
    """Turns a bar that redraws itself into lines, for a log, or for mpirun.

    Open MPI's mpirun passes on whole lines only: a bar redrawn with carriage returns would stay
    unseen until training ends.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        line = text.replace("\x1b[A", "").strip()
        if line:
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()


def _format(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
