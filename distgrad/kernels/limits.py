"""Twin of clamp between two numbers: a formula, see recipe.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.recipe import of_one


def clamp(a: Array, low: Any, high: Any) -> OpResult | None:
    """The twin of ``ops.clamp`` between numbers."""
    settings = bounds(low, high)
    found: Any = None if settings is None else between(a, **settings)
    return None if found is None else (found[0], (found[1], None, None))


def bounds(low: Any, high: Any) -> dict[str, float] | None:
    """Return the settings of ``between`` for two numbers, None for no bound; else None."""
    if not all(b is None or type(b) in (int, float) for b in (low, high)):
        return None
    return {"low": -np.inf if low is None else low, "high": np.inf if high is None else high}


def _clamp_member(F: Any) -> Any:
    zero = F(0)

    def value(x: Any, low: Any, high: Any) -> Any:
        y = low if x < low else x
        return high if y > high else y

    def back(g: Any, x: Any, low: Any, high: Any) -> Any:
        return g if (x >= low) & (x <= high) else zero

    return value, back


_clamp_member.__name__ = "clamp"
between = of_one(_clamp_member)
