"""Twins of the Bessel functions of orders 0 and 1: the tables of ops/bessel.py.

The modified ones are computed in their own dtype. The others cross zero, where what is left has the
digits of float64 alone: they are computed in it, and rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from distgrad.kernels import mathematics as m
from distgrad.kernels.angles import COSINE, FAR, SINE, wave
from distgrad.kernels.jit import inlined
from distgrad.kernels.recipe import of_one, of_one_where
from distgrad.ops import bessel_tables as tables
from distgrad.ops.helpers import within


def _scaled(F: Any, near: Sequence[float], far: Sequence[float]) -> Any:
    """exp(-x) I(x) for x ≥ 0: a polynomial of x / 4 - 1 up to 8, of 16 / x - 1 beyond."""
    least = 1e-9 if F is np.float32 else 0.0
    inner, outer = [
        m.polynomial(F, chebyshev.cheb2poly([c for c in table if abs(c) > least]))
        for table in (near, far)
    ]
    one, four, eight, sixteen = F(1), F(4), F(8), F(16)

    def value(x: Any) -> Any:
        z = x if x > eight else eight
        beyond = outer(sixteen / z - one) / np.sqrt(z)
        # Where it is not asked for, the polynomial must not overflow.
        close = inner((eight if x > eight else x) / four - one)
        return beyond if x > eight else close

    return inlined(value)


def _zeroth(F: Any) -> Any:
    return _scaled(F, tables.I0E_NEAR, tables.I0E_FAR)


def _first(F: Any) -> Any:
    """exp(-|x|) I₁(x) / |x| below 8, times |x| again, with the sign of x."""
    zero, one, four, eight, sixteen = F(0), F(1), F(4), F(8), F(16)
    least = 1e-9 if F is np.float32 else 0.0
    inner, outer = [
        m.polynomial(F, chebyshev.cheb2poly([c for c in table if abs(c) > least]))
        for table in (tables.I1E_NEAR, tables.I1E_FAR)
    ]

    def value(x: Any) -> Any:
        a = abs(x)
        z = a if a > eight else eight
        beyond = outer(sixteen / z - one) / np.sqrt(z)
        beyond = beyond if x > zero else -beyond
        close = x * inner((eight if a > eight else a) / four - one)
        return beyond if a > eight else close

    return inlined(value)


@of_one
def i0e(F: Any) -> Any:
    zero, zeroth, first = F(0), _zeroth(F), _first(F)

    def value(x: Any) -> Any:
        return zeroth(abs(x))

    def back(g: Any, x: Any) -> Any:
        y = zeroth(abs(x))
        y = y if x > zero else (-y if x < zero else zero * y)
        return g * (first(x) - y)

    return value, back


@of_one
def i0(F: Any) -> Any:
    zeroth, first = _zeroth(F), _first(F)

    def value(x: Any) -> Any:
        return m.exp(abs(x)) * zeroth(abs(x))

    def back(g: Any, x: Any) -> Any:
        return g * (m.exp(abs(x)) * first(x))

    return value, back


@of_one
def i1e(F: Any) -> Any:
    zero, half, one, zeroth, first = F(0), F(0.5), F(1), _zeroth(F), _first(F)

    def value(x: Any) -> Any:
        return first(x)

    def back(g: Any, x: Any) -> Any:
        y = first(x)
        ratio = half if x == zero else y / (one if x == zero else x)
        y = y if x > zero else -y
        return g * (zeroth(abs(x)) - ratio - y)

    return value, back


@of_one
def i1(F: Any) -> Any:
    zero, half, one, zeroth, first = F(0), F(0.5), F(1), _zeroth(F), _first(F)

    def value(x: Any) -> Any:
        return m.exp(abs(x)) * first(x)

    def back(g: Any, x: Any) -> Any:
        e = m.exp(abs(x))
        ratio = half if x == zero else e * first(x) / (one if x == zero else x)
        return g * (e * zeroth(abs(x)) - ratio)

    return value, back


# -- of the first kind ----------------------------------------------------------------------------


def _first_kind(
    F: Any, order: int, near: Sequence[float], P: Sequence[float], Q: Sequence[float]
) -> Any:
    """J of float64: a polynomial of x² / 32 - 1 up to 8, √(2 / πx) (P cos χ - Q sin χ) beyond."""
    least = 1e-11 if F is np.float32 else 0.0
    close, p, q = [
        m.polynomial(np.float64, chebyshev.cheb2poly([c for c in table if abs(c) > least]))
        for table in (near, P, Q)
    ]
    phase, odd, turn = (2 * order + 1) * math.pi / 4, order == 1, 2 / math.pi

    def value(x: float) -> Any:
        a = abs(x)
        z = a if a <= 8.0 else 8.0
        inner = close(z * z / 32.0 - 1.0)
        inner = z * inner if odd else inner
        # Where it is not asked for, the wave must not be NaN.
        f = a if 8.0 < a < np.inf else 8.0
        t, chi = 128.0 / (f * f) - 1.0, f - phase
        outer = math.sqrt(turn / f) * (p(t) * wave(chi, COSINE) - q(t) / f * wave(chi, SINE))
        y = inner if a <= 8.0 else (outer if a < np.inf else 0.0)
        y = math.copysign(1.0, x) * y if odd else y
        return y if x == x else x

    return inlined(value)


def _within(a: Any) -> bool:
    """Whether all angles are those of ``wave``, or infinite, where J vanishes."""
    if within(a, -FAR, FAR):
        return True
    size = np.absolute(a)
    return not np.any((size > FAR) & (size < np.inf))


def _j0(F: Any) -> Any:
    return _first_kind(F, 0, tables.J0_NEAR, tables.P0, tables.Q0)


def _j1(F: Any) -> Any:
    return _first_kind(F, 1, tables.J1_NEAR, tables.P1, tables.Q1)


@of_one_where(_within)
def bessel_j0(F: Any) -> Any:
    zeroth, first = _j0(F), _j1(F)

    def value(x: Any) -> Any:
        return F(zeroth(np.float64(x)))

    def back(g: Any, x: Any) -> Any:
        return -g * F(first(np.float64(x)))

    return value, back


@of_one_where(_within)
def bessel_j1(F: Any) -> Any:
    zeroth, first = _j0(F), _j1(F)

    def value(x: Any) -> Any:
        return F(first(np.float64(x)))

    def back(g: Any, x: Any) -> Any:
        z = np.float64(x)
        ratio = 0.5 if z == 0.0 else first(z) / (1.0 if z == 0.0 else z)
        return g * F(zeroth(z) - ratio)

    return value, back
