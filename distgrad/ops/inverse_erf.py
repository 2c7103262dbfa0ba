"""Inverses of the error function and of the normal distribution function.

Winitzki's approximation, then Halley's steps on erf or erfc, whichever keeps the digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.op import Op, OpResult, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.ops.helpers import fractional
from distgrad.ops.special import erf, erfc

_SQRT_2PI = math.sqrt(2 * math.pi)
_HALF_SQRT_PI = 0.5 * math.sqrt(math.pi)
_WINITZKI = 0.147


@op("... -> ...", domain=(-0.9, 0.9), real=True)
def erfinv(a: Array) -> OpResult:
    """The number whose error function is a: ±∞ at ±1, NaN beyond."""
    y = _inverse(erfinv, _erfinv, a)
    return y, lambda g: g * (_HALF_SQRT_PI * np.exp(y * y))


@op("... -> ...", domain=(0.05, 0.95), real=True)
def ndtri(a: Array) -> OpResult:
    """Φ⁻¹(a), the quantile of the standard normal distribution, exact for tiny a too."""
    y = _inverse(ndtri, _ndtri, a)
    return y, lambda g: g * (_SQRT_2PI * np.exp(0.5 * y * y))


def _inverse(op: Op, function: Callable[[Array], Array], a: Array | Tensor) -> Any:
    if isinstance(a, Tensor):
        return op(a)
    x = np.asarray(a)
    with np.errstate(all="ignore"):
        y = function(x.astype(np.float64))
    return y.astype(fractional(x.dtype))


def _erfinv(y: Array) -> Array:
    q = np.absolute(y)
    middle = np.where(q <= 0.5, y, 0)
    x = _guess((1 - q) * (1 + q))
    near = np.copysign(x, y)
    for _ in range(3):
        near = _halley(near, erf.function(near)[0] - middle)
    near = np.where(middle == 0, y, near)  # the slope at 0 is no use to a guess of 0
    far = np.copysign(_erfc_inverse(1 - q, x), y)
    return np.where(q <= 0.5, near, np.where(q < 1, far, np.where(q == 1, y * np.inf, np.nan)))


def _ndtri(p: Array) -> Array:
    tail = 2 * np.minimum(p, 1 - p)
    far = math.sqrt(2) * np.copysign(_erfc_inverse(tail, _guess(tail * (2 - tail))), p - 0.5)
    near = math.sqrt(2) * _erfinv(2 * p - 1)
    inside = np.where(np.absolute(p - 0.5) <= 0.25, near, far)
    edge = np.where(p == 0, -np.inf, np.where(p == 1, np.inf, np.nan))
    return np.where((p > 0) & (p < 1), inside, edge)


def _erfc_inverse(q: Array, x: Array) -> Array:
    """x ≥ 0 with erfc(x) = q for 0 < q < 1, from a guess."""
    for _ in range(3):
        x = _halley(x, q - erfc.function(x)[0])
    return x


def _halley(x: Array, error: Array) -> Array:
    # erf'' = -2 x erf'.
    step = error * _HALF_SQRT_PI * np.exp(x * x)
    found: Array = x - step / (1 + x * step)
    return found


def _guess(rest: Array) -> Array:
    """|erfinv(y)| to 2 parts in 1000, from 1 - y² (Winitzki 2008)."""
    log_rest = np.log(rest)
    b = 2 / (math.pi * _WINITZKI) + 0.5 * log_rest
    return np.sqrt(np.maximum(np.sqrt(b * b - log_rest / _WINITZKI) - b, 0))
