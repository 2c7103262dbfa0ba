"""Whether parameters are drawn at all: a model that is to be loaded need not be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

skipping: ContextVar[bool] = ContextVar("parameters are not drawn", default=False)


@contextmanager
def not_drawn() -> Iterator[None]:
    """Leave new parameters as they are, zeros in memory that nobody has touched yet."""
    before = skipping.set(True)
    try:
        yield
    finally:
        skipping.reset(before)
