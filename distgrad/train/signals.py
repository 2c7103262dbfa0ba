"""Signals that only ask for something: noted by the rank, not by children that it forks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

# What the signals did before, for a forked child: a worker of multiprocessing that only notes
# SIGTERM outlives its terminate(), and its parent waits for it for ever.
_before: list[dict[signal.Signals, Any]] = []


@contextmanager
def noted(
    signals: Sequence[signal.Signals], note: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Call ``note`` instead of what the signals do, in this process; main thread only."""
    old = {number: signal.signal(number, note) for number in signals}
    _before.append(old)
    try:
        yield
    finally:
        if old in _before:  # not so in a forked child
            _before.remove(old)
            _restore(old)


def _restore(old: dict[signal.Signals, Any]) -> None:
    for number, handler in old.items():
        # None: a handler that was not set by Python, which cannot be set by it either.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


# A signal that comes to a child before it has its handlers back would be noted there and lost, so
# they are held up in between.
_masks: list[set[Any]] = []


def _hold() -> None:
    _masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, {n for old in _before for n in old}))


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop())


def _undo() -> None:
    while _before:
        _restore(_before.pop())
    _release()


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_undo)
