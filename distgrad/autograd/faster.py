"""What ``distgrad.kernels`` has for this package, which does not know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _none(name: str) -> Callable[..., Any] | None:
    return None


twin: Callable[[str], Callable[..., Any] | None] = _none
"""Finds what does the same faster; set by ``distgrad.kernels``."""
MANY = 1 << 11
"""Numbers: fewer are done sooner than numba is imported, or a kernel called."""
