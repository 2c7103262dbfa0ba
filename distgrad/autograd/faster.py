"""What ``distgrad.kernels`` has for this package, which does not know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _none(name: str) -> Callable[..., Any] | None:
    return None


twin: Callable[[str], Callable[..., Any] | None] = _none
"""Finds what does the same faster; set by ``distgrad.kernels``."""
MANY = 1 << 11
"""Numbers: fewer are done sooner than numba is imported."""
_asked: dict[str, int] = {}


def twin_of_many(name: str, count: int) -> Callable[..., Any] | None:
    """Return ``twin(name)``, once calls have asked for ``MANY`` numbers in all.

    Its bits must be those of what runs before.
    """
    so_far = _asked.get(name, 0)
    if so_far < MANY:
        _asked[name] = so_far = so_far + count
    return twin(name) if so_far >= MANY else None
