"""Says of an error in a model which module raised it, and what that was called with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import numpy as np

from distgrad.autograd.tensor import Tensor

E = TypeVar("E", bound=Exception)
MOST = 4
"""A list that is longer is not shown."""


class Named(Protocol):
    """What is asked of a module."""

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """Yield it and all below it, with their names."""


class _Place:
    """The innermost module that an error came from, what it got, and which note says so."""

    def __init__(self, module: Named, got: str, number: int) -> None:
        self.module, self.got, self.number = module, got, number


def note(error: E, module: Named, args: tuple[Any, ...]) -> E:
    """Add to ``error``, which a call of ``module`` raised, a note with the module's name.

    Each module on the way out knows a longer name: the outermost one's stays. Python 3.10 has no
    notes.
    """
    if not hasattr(error, "add_note"):
        return error
    place: _Place | None = getattr(error, "_place", None)
    if place is None:
        got = ", ".join(map(_shown, args)) or "nothing by position"
        place = _Place(module, got, len(getattr(error, "__notes__", ())))
        error._place = place  # type: ignore[attr-defined]
        error.add_note("")
    path = next((name for name, m in module.named_modules() if m is place.module), None)
    if path is not None:
        kind = type(place.module).__name__
        name = f"'{path}' ({kind})" if path else kind
        error.__notes__[place.number] = f"raised in {name}, called with {place.got}"
    return error


def _shown(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{value.shape} {value.dtype}"
    text = ""  # a repr of somebody else's may be slow, and may raise
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        text = repr(value)
    elif type(value) in (list, tuple) and len(value) <= MOST:
        text = f"[{', '.join(map(_shown, value))}]"
    return text if 0 < len(text) <= 40 else f"a {type(value).__name__}"
