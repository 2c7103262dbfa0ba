"""Whether this process still is the rank it was: a forked child is none."""

from __future__ import annotations

import os

generation = 0
"""Another number in a forked child than in its parent; read it as ``fork.generation``."""


def _next() -> None:
    global generation  # noqa: PLW0603 - there is one process to know about
    generation += 1


os.register_at_fork(after_in_child=_next)
