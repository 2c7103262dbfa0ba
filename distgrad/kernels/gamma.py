"""Twins of the gamma function's logarithm and its derivatives, of positive numbers.

Of float32 by Stirling's series in float64, after a step up to 8 and more. The higher derivatives
are the reference's sums in one pass: powers stay NumPy's, and so the bits.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels import mathematics as m
from distgrad.kernels.arrays import suits
from distgrad.kernels.jit import exact_kernel, inlined
from distgrad.kernels.recipe import of_one_where
from distgrad.kernels.scalars import empty_of
from distgrad.ops.gamma_numbers import BERNOULLI, HALF_LOG_2PI, factorial

_FAR, _STEPS = 8.0, 8


def positive(a: Any) -> bool:
    """Whether all of ``a`` is above 0 and not NaN: below are poles, and reflections."""
    return a.dtype == np.float32 and bool(np.minimum.reduce(a, axis=None) > 0)


@inlined
def stirling_rest(z: float) -> Any:
    """log Γ(z) - ((z - 1/2) log z - z + ½ log 2π) for z ≥ 8."""
    r = 1 / z
    q = r * r
    return r * (1 / 12 - q * (1 / 360 - q * (1 / 1260 - q * (1 / 1680 - q / 1188))))


@inlined
def _log_gamma(x: float) -> Any:
    p, near = 1.0, x < _FAR
    for k in range(_STEPS):
        p *= x + k
    z = x + _STEPS if near else x
    far = (z - 0.5) * m.log(z) - z + HALF_LOG_2PI + stirling_rest(z)
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


_BLOCK = 1024  # numbers whose powers are held at a time


def polygamma(a: Array, *, n: int) -> OpResult | None:
    """The twin of ``ops.polygamma`` for derivatives from the first on."""
    # Of an array without axes the reference has the powers of Python's numbers.
    if type(a) is not np.ndarray or type(n) is not int or n < 1 or not suits(a) or not a.ndim:
        return None
    if not np.minimum.reduce(a, axis=None) > 0:
        return None

    def vjp(g: Array) -> Array:
        d: Array = g * _polygamma(n + 1, a)
        return d

    return _polygamma(n, a), vjp


def _polygamma(n: int, a: Array) -> Array:
    q = a.astype(np.float64, order="C").reshape(-1)
    total, s = np.empty_like(q), n + 1
    terms = np.arange(10 + s // 2, dtype=np.float64).reshape(-1, 1)
    with np.errstate(all="ignore"):
        for start in range(0, q.size, _BLOCK):
            part = q[start : start + _BLOCK]
            far = part + len(terms)
            powers = (part + terms) ** -float(s)
            last, tail = far ** -float(s), far ** (1.0 - s)
            _zeta(float(s), powers, far, last, tail, _series(s), total[start : start + _BLOCK])
        total[np.isposinf(q)] = 0
        total *= (-1.0) ** (n + 1) * factorial(n)
    return total.astype(a.dtype).reshape(a.shape)


@functools.cache
def _series(s: int) -> Array:
    """What each term of Euler's and Maclaurin's series is multiplied by, and how the next grows."""
    return np.array(
        [
            (b / math.factorial(2 * k), float((s + 2 * k - 1) * (s + 2 * k)))
            for k, b in enumerate(BERNOULLI, 1)
        ]
    )


@exact_kernel
def _zeta(
    s: float, powers: Array, far: Array, last: Array, tail: Array, series: Array, total: Array
) -> None:
    """Sum up ζ(s, q): the first powers, and the series for the rest."""
    n = total.size
    factor, square = empty_of(n, total.dtype), empty_of(n, total.dtype)
    for i in range(n):
        total[i] = 0.0
    for k in range(powers.shape[0]):
        for i in range(n):
            total[i] += powers[k, i]
    for i in range(n):
        total[i] += tail[i] / (s - 1.0) + 0.5 * last[i]
        factor[i], square[i] = s * last[i] / far[i], far[i] * far[i]
    for k in range(series.shape[0]):
        for i in range(n):
            total[i] += factor[i] * series[k, 0]
            factor[i] = factor[i] * series[k, 1] / square[i]
