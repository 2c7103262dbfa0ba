"""Twins of the modified Bessel functions of orders 0 and 1: the tables of ops/bessel.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from distgrad.kernels import mathematics as m
from distgrad.kernels.jit import inlined
from distgrad.kernels.recipe import of_one
from distgrad.ops import bessel_tables as tables


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
