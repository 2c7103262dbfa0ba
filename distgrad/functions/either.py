"""``axis`` and ``keepdims``: PyTorch's functions take NumPy's names for ``dim`` and ``keepdim``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def either_name(function: F) -> F:
    """Let ``function`` take NumPy's names, too; the result stays PyTorch's.

    Errors: TypeError where both names are given.
    """
    taken = inspect.signature(function).parameters

    @functools.wraps(function)
    def call(*args: Any, **settings: Any) -> Any:
        for name in settings.keys() & _NAMES.keys():
            theirs = _NAMES[name]
            if theirs in settings or theirs not in taken:
                raise TypeError(
                    f"{function.__name__} was given {name}"
                    + (f" and {theirs}: name one" if theirs in settings else ", which it has not")
                )
            settings[theirs] = settings.pop(name)
        return function(*args, **settings)

    return call  # type: ignore[return-value]
