"""Twins of the gamma function's logarithm and of its derivative, of positive float32.

Computed in float64 by Stirling's series, after a step up to 8 and more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.kernels import mathematics as m
from distgrad.kernels.jit import inlined
from distgrad.kernels.recipe import of_one_where

_FAR, _STEPS = 8.0, 8
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def positive(a: Any) -> bool:
    """Whether all of ``a`` is above 0 and not NaN: below are poles, and reflections."""
    return a.dtype == np.float32 and bool(np.minimum.reduce(a, axis=None) > 0)


@inlined
def _log_gamma(x: float) -> Any:
    p, near = 1.0, x < _FAR
    for k in range(_STEPS):
        p *= x + k
    z = x + _STEPS if near else x
    r = 1 / z
    q = r * r
    rest = r * (1 / 12 - q * (1 / 360 - q * (1 / 1260 - q * (1 / 1680 - q / 1188))))
    far = (z - 0.5) * m.log(z) - z + _HALF_LOG_2PI + rest
    return far - m.log(p) if near else far


@inlined
def _digamma(x: float) -> Any:
    # Σ 1 / (x + k) is p' / p, p = x (x + 1) …: one division.
    p, slope, near = 1.0, 0.0, x < _FAR
    for k in range(_STEPS):
        slope = slope * (x + k) + p
        p *= x + k
    z = x + _STEPS if near else x
    r = 1 / z
    q = r * r
    rest = q * (1 / 12 - q * (1 / 120 - q * (1 / 252 - q * (1 / 240 - q / 132))))
    far = m.log(z) - 0.5 * r - rest
    return far - slope / p if near else far


@inlined
def _trigamma(x: float) -> Any:
    total, near = 0.0, x < _FAR
    for k in range(_STEPS):
        total += 1 / ((x + k) * (x + k))
    z = x + _STEPS if near else x
    r = 1 / z
    q = r * r
    far = r + 0.5 * q + r * q * (1 / 6 - q * (1 / 30 - q * (1 / 42 - q * (1 / 30 - q * 5 / 66))))
    return far + total if near else far


@of_one_where(positive)
def lgamma(F: Any) -> Any:
    def value(x: Any) -> Any:
        return F(_log_gamma(np.float64(x)))

    def back(g: Any, x: Any) -> Any:
        return g * F(_digamma(np.float64(x)))

    return value, back


@of_one_where(positive)
def digamma(F: Any) -> Any:
    def value(x: Any) -> Any:
        return F(_digamma(np.float64(x)))

    def back(g: Any, x: Any) -> Any:
        return g * F(_trigamma(np.float64(x)))

    return value, back
