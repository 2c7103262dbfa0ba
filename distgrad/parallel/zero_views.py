"""Who else may read a module's parameters when its forward pass is over: views that left it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.absent import owners
from distgrad.autograd.flat import held
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.nn import Module

_DEPTH = 4
"""So many containers may lie around a view."""


def has_view(value: Any, memory: Array, params: Sequence[Tensor], depth: int = _DEPTH) -> bool:
    """Whether there is a view of ``memory`` in ``value``; ``params`` themselves are none.

    Looks into containers and objects, and not into modules or functions.
    """
    if isinstance(value, Tensor):
        return not any(value is p for p in params) and id(memory) in owners(held(value))
    if isinstance(value, np.ndarray):
        return id(memory) in owners(value)
    if not depth or isinstance(value, Module | str | bytes) or callable(value):
        return False
    if isinstance(value, list | tuple | set | frozenset):
        inside: Any = value
    elif isinstance(value, dict):
        inside = list(value.values())
    else:
        inside = list(getattr(value, "__dict__", {}).values())
    return any(has_view(part, memory, params, depth - 1) for part in inside)
