"""How methods reach the functions of their names. Knows none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

X = TypeVar("X")

# Filled by @op, as_method() and the engine: what NumPy has no function for.
METHODS: dict[str, Callable[..., Any]] = {}
# Filled by @op and plain(): how NumPy's functions reach the ops.
UFUNCS: dict[Any, Callable[..., Any]] = {}
FUNCTIONS: dict[Any, Callable[..., Any]] = {}


def call(function: Callable[..., Any], x: X, *args: Any, **settings: Any) -> X:
    """Call a function on a Tensor, one of NumPy's without the way through NumPy (1 µs)."""
    direct = UFUNCS.get(function) or FUNCTIONS.get(function, function)
    result: X = direct(x, *args, **settings)
    return result


def named(name: str, x: X, *args: Any, **settings: Any) -> X:
    """Call what stands in METHODS."""
    result: X = METHODS[name](x, *args, **settings)
    return result
