"""Variables of which every rank has its own: a process has them once, each simulated rank once.

All threads that a rank starts see their rank's values. A context variable alone would not do: a
new thread starts with an empty context, and would see the world of nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Values: TypeAlias = "dict[PerRank[Any], Any]"
"""What one rank has in its variables."""

_process: Values = {}
_own: ContextVar[Values] = ContextVar("the values of this thread's rank", default=_process)


class PerRank(Generic[T]):
    """A variable with a value for each rank; ``default`` until it is set."""

    def __init__(self, default: T) -> None:
        self.default = default

    def get(self) -> T:
        """Return the value of the calling thread's rank."""
        value: T = _own.get().get(self, self.default)
        return value

    def set(self, value: T) -> None:
        """Set it for all threads of the calling thread's rank."""
        _own.get()[self] = value


def values() -> Values:
    """Return what the calling thread's rank has in its variables: the thing itself, no copy."""
    return _own.get()


def become(rank: Values) -> None:
    """Let the calling thread be one of the rank with these values; ``{}`` is a new rank."""
    _own.set(rank)


def isolated(body: Callable[[], T]) -> T:
    """Run ``body`` as a new rank in an empty context: no world, seed or shard from outside."""

    def run() -> T:
        become({})
        return body()

    return Context().run(run)
