"""Whether this process still is the rank it was: a forked child is none."""

from __future__ import annotations

import os

_generation = 0


def generation() -> int:
    """Return a number that is another one in a forked child than in its parent."""
    return _generation


def _next() -> None:
    global _generation  # noqa: PLW0603 - there is one process to know about
    _generation += 1


os.register_at_fork(after_in_child=_next)
