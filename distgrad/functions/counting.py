"""Formulas of the numbers 0, 1, 2, …, computed in float64 and rounded to the dtype asked for.

A block at a time, so that nothing but the result passes through memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad import kernels
from distgrad.autograd.types import Array

BLOCK = 1 << 13
"""Numbers of a block: with what a formula makes of them they stay in the cache."""
MANY = 2 * BLOCK
_FIRST = np.arange(MANY, dtype=np.float64)
_FIRST.flags.writeable = False
"""As many as are sooner computed in one piece: to copy them takes half as long as to count."""

Formula = Callable[[Array], Any]


def counted(count: int, dtype: np.dtype[Any], formula: Formula) -> Array:
    """Return ``formula`` of 0 to ``count`` - 1. It gets an array that it may write to."""
    if count <= MANY:
        return np.asarray(formula(_FIRST[:count].copy())).astype(dtype, copy=False)
    y = np.empty(count, dtype)
    first, n = _FIRST[:BLOCK], np.empty(BLOCK)
    for start in range(0, count, BLOCK):
        part = y[start : start + BLOCK]
        part[...] = formula(np.add(first, start, n)[: len(part)])
    return y


def line(count: int, dtype: np.dtype[Any], step: float, first: float = -0.0) -> Array:
    """Return ``n * step + first`` of n = 0 to ``count`` - 1; -0 added leaves a number as it is."""
    twin = kernels.twin("line") if count > MANY else None
    found: Array | None = None if twin is None else twin(count, dtype, step, first)

    def formula(n: Array) -> Array:
        n *= step
        n += first
        return n

    return counted(count, dtype, formula) if found is None else found


def spaced(first: float, last: float, count: int) -> Array:
    """Return ``np.linspace(first, last, count)`` of two or more numbers."""
    step = (last - first) / (count - 1)
    if not step:
        return np.linspace(first, last, count)
    y = _first(count) * step
    y += first
    y[-1] = last
    return y


def waves(count: int, a: Sequence[Any] | Array, step: float, phase: float = 0.0) -> Array:
    """Return Σ aᵢ cos(i (step n + phase)) of n = 0 to ``count`` - 1 in float64.

    Of many by cos(α + β) = cos α cos β - sin α sin β, α of every r-th number and β of the r after
    each: a product of two narrow matrices instead of a cosine per number.
    """
    terms = len(a) - 1
    if terms and count * terms <= _COSINES:
        return _cosines(count, a, step, phase)
    r = math.isqrt(count) + 1
    rows = -(-count // r)
    alpha, beta = step * r * _first(rows) + phase, step * _first(r)
    if terms != 1:
        i = np.arange(1, len(a))[:, None]
        alpha, beta = i * alpha, i * beta  # i, count / r and i, r
    left, right = np.empty((2 * terms, rows)), np.empty((2 * terms, r))
    for angle, of in ((alpha, left), (beta, right)):
        np.cos(angle, of[:terms])
        np.sin(angle, of[terms:])
    left *= np.array([*a[1:], *[-c for c in a[1:]]])[:, None]
    y: Array = left.T.copy() @ right
    y += a[0]
    found: Array = y.reshape(-1)[:count]
    return found


_COSINES = 1 << 10
"""Cosines that take no longer than the two matrices."""


def _cosines(count: int, a: Sequence[Any] | Array, step: float, phase: float) -> Array:
    angle = _FIRST[:count] * step
    if phase:
        angle += phase
    y = np.cos(angle)
    y *= a[1]
    for i in range(2, len(a)):
        y += a[i] * np.cos(i * angle)
    y += a[0]
    return y


def _first(count: int) -> Array:
    """Return 0 to ``count`` - 1, not to be written to."""
    return _FIRST[:count] if count <= MANY else np.arange(count, dtype=np.float64)
