"""Formulas of the numbers 0, 1, 2, …, computed in float64 and rounded to the dtype asked for.

A block at a time, so that nothing but the result passes through memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.types import Array

BLOCK = 1 << 13
"""Numbers of a block: with what a formula makes of them they stay in the cache."""
_FIRST = np.arange(2 * BLOCK, dtype=np.float64)
_FIRST.flags.writeable = False
"""As many as are sooner computed in one piece: to copy them takes half as long as to count."""
Formula = Callable[[Array], Any]


def counted(count: int, dtype: np.dtype[Any], formula: Formula) -> Array:
    """Return ``formula`` of 0 to ``count`` - 1. It gets an array that it may write to."""
    if count <= len(_FIRST):
        return np.asarray(formula(_FIRST[:count].copy())).astype(dtype, copy=False)
    y = np.empty(count, dtype)
    first, n = _FIRST[:BLOCK], np.empty(BLOCK)
    for start in range(0, count, BLOCK):
        part = y[start : start + BLOCK]
        part[...] = formula(np.add(first, start, n)[: len(part)])
    return y


def spaced(first: float, last: float, count: int) -> Array:
    """Return ``np.linspace(first, last, count)`` of two or more numbers."""
    step = (last - first) / (count - 1)
    if not step:
        return np.linspace(first, last, count)
    y = np.arange(count, dtype=np.float64)
    y *= step
    y += first
    y[-1] = last
    return y


def waves(count: int, a: Sequence[Any] | Array, step: float, phase: float = 0.0) -> Array:
    """Return Σ aᵢ cos(i (step n + phase)) of n = 0 to ``count`` - 1 in float64.

    By cos(α + β) = cos α cos β - sin α sin β, α of every r-th number and β of the r after each: a
    product of two narrow matrices instead of a cosine per number.
    """
    r = math.isqrt(count) + 1
    i = np.arange(1, len(a))
    c = np.asarray(a[1:])
    alpha = i * (step * r * np.arange(-(-count // r))[:, None] + phase)  # count / r, i
    beta = i[:, None] * (step * np.arange(r))  # i, r
    left = np.concatenate((c * np.cos(alpha), -c * np.sin(alpha)), 1)
    y: Array = left @ np.concatenate((np.cos(beta), np.sin(beta)))
    y += a[0]
    found: Array = y.reshape(-1)[:count]
    return found
