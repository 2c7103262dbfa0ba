"""Bessel functions of orders 0 and 1, and Hurwitz's zeta function, to machine precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array, Closure
from distgrad.errors import ShapeError
from distgrad.ops import bessel_tables as tables
from distgrad.ops.helpers import data_of, either_fused

_DOMAIN = (-3.0, 3.0)


def chebyshev(coefficients: Sequence[float], t: Array) -> Array:
    """Σ cₖ Tₖ(t) by Clenshaw's recurrence."""
    d = dd = np.zeros_like(t)
    for c in coefficients[:0:-1]:
        d, dd = 2 * t * d - dd + c, d
    return t * d - dd + coefficients[0]


def _in_double(function: Callable[[Array], Array], a: Any) -> Array:
    """``function`` of |a| in float64, rounded to a's precision."""
    x = np.asarray(data_of(a))
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
    return np.asarray(function(np.abs(x).astype(np.float64)).astype(dtype))


def _i0e(x: Array) -> Array:
    near = chebyshev(tables.I0E_NEAR, np.minimum(x, 8) / 4 - 1)
    far = np.maximum(x, 8)
    return np.where(x <= 8, near, chebyshev(tables.I0E_FAR, 16 / far - 1) / np.sqrt(far))


def _i1e(x: Array) -> Array:
    near = x * chebyshev(tables.I1E_NEAR, np.minimum(x, 8) / 4 - 1)
    far = np.maximum(x, 8)
    return np.where(x <= 8, near, chebyshev(tables.I1E_FAR, 16 / far - 1) / np.sqrt(far))


def _grown(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def grown(x: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.exp(x) * function(x)

    return grown


def _j(order: int, near: Sequence[float], P: Sequence[float], Q: Sequence[float]) -> Any:
    def value(x: Array) -> Array:
        close = chebyshev(near, np.minimum(x, 8) ** 2 / 32 - 1)
        far = np.where(np.isfinite(x), np.maximum(x, 8), 8)
        t, angle = 128 / far**2 - 1, far - (2 * order + 1) * math.pi / 4
        wave = chebyshev(P, t) * np.cos(angle) - chebyshev(Q, t) / far * np.sin(angle)
        beyond = np.where(x == np.inf, 0, np.sqrt(2 / (math.pi * far)) * wave)
        return np.where(x <= 8, close * x if order else close, np.where(x > 8, beyond, np.nan))

    return value


_j0 = _j(0, tables.J0_NEAR, tables.P0, tables.Q0)
_j1 = _j(1, tables.J1_NEAR, tables.P1, tables.Q1)


def _over(y: Any, a: Any) -> Any:
    """y / a for an odd y with slope ½ at 0."""
    zero = data_of(a) == 0
    return np.where(zero, np.asarray(0.5, a.dtype), y / np.where(zero, 1, a))


def _odd(function: Callable[[Array], Array], a: Any) -> Array:
    return np.asarray(np.copysign(1, data_of(a)).astype(a.dtype) * _in_double(function, a))


@op("... -> ...", domain=_DOMAIN, real=True)
def i0(a: Array) -> OpResult:
    """The modified Bessel function I₀."""
    return _in_double(_grown(_i0e), a), lambda g: g * either_fused(i1, a)


@op("... -> ...", domain=_DOMAIN, real=True)
def i1(a: Array) -> OpResult:
    """The modified Bessel function I₁."""
    return _odd(
        _grown(_i1e), a
    ), lambda g: g * (either_fused(i0, a) - _over(either_fused(i1, a), a))


@op("... -> ...", domain=_DOMAIN, real=True)
def i0e(a: Array) -> OpResult:
    """exp(-|a|) I₀(a)."""
    return _in_double(
        _i0e, a
    ), lambda g: g * (either_fused(i1e, a) - np.sign(data_of(a)) * either_fused(i0e, a))


@op("... -> ...", domain=_DOMAIN, real=True)
def i1e(a: Array) -> OpResult:
    """exp(-|a|) I₁(a)."""

    def vjp(g: Array) -> Any:
        y = either_fused(i1e, a)
        return g * (either_fused(i0e, a) - _over(y, a) - np.sign(data_of(a)) * y)

    return _odd(_i1e, a), vjp


@op("... -> ...", domain=_DOMAIN, real=True)
def bessel_j0(a: Array) -> OpResult:
    """The Bessel function J₀."""
    return _in_double(_j0, a), lambda g: -g * either_fused(bessel_j1, a)


@op("... -> ...", domain=_DOMAIN, real=True)
def bessel_j1(a: Array) -> OpResult:
    """The Bessel function J₁."""
    return _odd(
        _j1, a
    ), lambda g: g * (either_fused(bessel_j0, a) - _over(either_fused(bessel_j1, a), a))


# -- Hurwitz's zeta -------------------------------------------------------------------------------

DIRECT = 10
"""So many terms are added one by one before Euler and Maclaurin's formula takes over."""
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_FARTHEST = 10_000


def _zetas(rng: np.random.Generator) -> list[Sample]:
    return [((rng.uniform(0.5, 3, (2, 3)),), {"x": rng.uniform(1.5, 4, 3)})]


@op("... -> ...", samples=_zetas, real=True)
def zeta(q: Array, *, x: float | Array) -> OpResult:
    """Hurwitz's Σ (k + q)⁻ˣ over k ≥ 0; infinite at x = 1, NaN below; x has no gradient."""
    given = np.asarray(data_of(q))
    dtype = given.dtype if given.dtype.kind == "f" else np.dtype(np.float64)
    with np.errstate(all="ignore"):
        value = _hurwitz(np.asarray(x, np.float64), given.astype(np.float64))
    return np.asarray(value.astype(dtype)), zeta_slope(q, x)


def zeta_slope(q: Array, x: float | Array) -> Closure:
    """Return zeta's gradient to q: -x ζ(x + 1, q)."""
    dtype = q.dtype if q.dtype.kind == "f" else np.dtype(np.float64)
    factor = np.asarray(-np.asarray(x), dtype)
    return lambda g: g * factor * either_fused(zeta, q, x=np.asarray(x) + 1.0)


def _hurwitz(x: Array, q: Array) -> Array:
    x, q = np.broadcast_arrays(x, q)
    lowest = q[np.isfinite(q)].min(initial=0.0)
    if lowest < -_FARTHEST:
        raise ShapeError(f"zeta: q={lowest:g} is too far below 0, at most {_FARTHEST} terms")
    total = np.zeros_like(q)
    n = DIRECT + max(0, math.ceil(-lowest))
    for k in range(n):
        total = total + (q + k) ** -x
    b = q + n
    total = total + b ** (1 - x) / (x - 1) + 0.5 * b**-x
    rising, power = x, b ** (-x - 1)
    for i, bernoulli in enumerate(BERNOULLI, start=1):
        total = total + bernoulli / math.factorial(2 * i) * rising * power
        rising, power = rising * (x + 2 * i - 1) * (x + 2 * i), power / b**2
    pole = (q <= 0) & (q == np.floor(q))
    total = np.where((q < 0) & (x != np.floor(x)), np.nan, np.where(pole, np.inf, total))
    return np.where(x == 1, np.inf, np.where(x < 1, np.nan, total))
