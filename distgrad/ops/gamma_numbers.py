"""Values of log Γ and its derivatives on float64 arrays: series, recurrences, reflections.

Knows no Tensor. Sources: Abramowitz & Stegun 6.1, 6.3, 6.4; DLMF 5.11, 5.15, 25.11.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from distgrad.autograd.types import Array

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_EULER = 0.57721566490153286061

# B₂, B₄, …: Bernoulli's numbers.
BERNOULLI = (
    *(1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798),
    *(-174611 / 330, 854513 / 138),
)
_STIRLING = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI[:10], 1)]
_FAR = 10.0  # from here on ten terms of the asymptotic series are exact

# ψ(x₀) = 0: the zero in two parts, so that x - x₀ is exact near it.
_ZERO, _ZERO_REST = 1.4616321449683622, 9.549995429965697e-17


def near_two(z: Array) -> Array:
    """log Γ(2 + z) for |z| ≤ 1/2, with a small relative error at its zero."""
    total = np.zeros_like(z)
    for c in reversed(about_two()):
        total = total * z + c
    return total * z


@functools.cache
def about_two() -> list[float]:
    """Taylor's coefficients: log Γ(2 + z) = (1 - γ) z + Σ (-1)ᵏ (ζ(k) - 1) zᵏ / k."""
    two = np.array(2.0)
    return [1 - _EULER, *((-1) ** k * float(hurwitz(k, two)) / k for k in range(2, 27))]


def stirling_rest(x: Array) -> Array:
    """log Γ(x) - ((x - 1/2) log x - x + ½ log 2π) for x ≥ 10."""
    inverse = 1 / x
    square = inverse * inverse
    total = np.zeros_like(x)
    for c in reversed(_STIRLING):
        total = total * square + c
    return total * inverse


def log_gamma(x: Array) -> Array:
    """log |Γ(x)|; infinite at 0, -1, -2, … and at both infinities."""
    with np.errstate(all="ignore"):
        positive = np.where(x > 0, x, 1 - x)  # Γ(x) Γ(1 - x) = π / sin(πx)
        value = _log_gamma_positive(positive)
        r = x - np.rint(x)
        reflected = np.log(math.pi / np.absolute(np.sin(math.pi * r))) - value
        value = np.where(x > 0, value, reflected)
        value = np.where((x <= 0) & (r == 0) | np.isinf(x), np.inf, value)
    found: Array = value + 0 * np.where(np.isnan(x), x, 0)
    return found


def _log_gamma_positive(x: Array) -> Array:
    # Below 2.5 by the series about 2, one or two steps up if need be.
    up = np.where(x < 0.5, 2.0, np.where(x < 1.5, 1.0, 0.0))
    z = np.clip(x - (2 - up), -0.5, 0.5)
    small = near_two(z) - np.where(up > 0, np.where(up > 1, np.log1p(x), np.log1p(x - 1)), 0)
    small = np.where(up > 1, small - np.log(x), small)
    far, product = np.maximum(x, 1.0), np.ones_like(x)
    for _ in range(8):
        step = far < _FAR
        product = np.where(step, product * far, product)
        far = far + step
    big = (far - 0.5) * np.log(far) - far + HALF_LOG_2PI + stirling_rest(far) - np.log(product)
    big = np.where(x > 1e17, x * (np.log(x) - 1), big)
    return np.where(x < 2.5, small, big)


def digamma(x: Array) -> Array:
    """ψ(x) = Γ'(x) / Γ(x); ∓∞ at ±0 and NaN at -1, -2, …, as PyTorch has it."""
    with np.errstate(all="ignore"):
        positive = np.where(x > 0, x, 1 - x)
        value = _digamma_positive(positive)
        r = x - np.rint(x)
        value = np.where(x > 0, value, value - math.pi / np.tan(math.pi * r))
        value = np.where((r == 0) & (x < 0), np.nan, value)
        value = np.where(x == 0, -np.copysign(np.inf, x), value)
        return np.where(np.isposinf(x), np.inf, value)


def _digamma_positive(x: Array) -> Array:
    far, steps = np.array(x), np.zeros_like(x)
    for _ in range(10):
        step = far < _FAR
        steps = np.where(step, steps + 1 / far, steps)
        far = far + step
    square = 1 / (far * far)
    total = np.zeros_like(x)
    for k in range(len(BERNOULLI), 0, -1):
        total = (total + BERNOULLI[k - 1] / (2 * k)) * square
    value = np.log(far) - 0.5 / far - total - steps
    z = (x - _ZERO) - _ZERO_REST
    near = np.absolute(z) < 0.25
    if not np.any(near):
        found: Array = value
        return found
    z = np.where(near, z, 0)
    series = np.zeros_like(z)
    for c in reversed(_about_the_zero()):
        series = (series + c) * z
    return np.where(near, series, value)


@functools.cache
def _about_the_zero() -> list[float]:
    """Taylor's coefficients of ψ at its zero, from the first on: ψ⁽ᵏ⁾ / k! = ± ζ(k + 1, x₀)."""
    at = np.array(_ZERO)
    return [(-1) ** (k + 1) * float(hurwitz(k + 1, at)) for k in range(1, 21)]


def hurwitz(s: int, q: Array) -> Array:
    """ζ(s, q) = Σ (q + k)⁻ˢ over k ≥ 0 for whole s ≥ 2 and q > 0, by Euler and Maclaurin."""
    with np.errstate(all="ignore"):
        terms = 10 + s // 2
        total = np.zeros_like(q)
        for k in range(terms):
            total += (q + k) ** -float(s)
        far = q + terms
        last = far ** -float(s)
        total += far ** (1.0 - s) / (s - 1) + 0.5 * last
        factor = s * last / far
        for k, b in enumerate(BERNOULLI, 1):
            total += factor * (b / math.factorial(2 * k))
            factor = factor * ((s + 2 * k - 1) * (s + 2 * k)) / (far * far)
        return np.where(np.isposinf(q), 0.0, total)


def polygamma(n: int, x: Array) -> Array:
    """ψ⁽ⁿ⁾(x), the n-th derivative of ψ; infinite at 0, -1, -2, … ."""
    if n == 0:
        return digamma(x)
    sign = (-1.0) ** (n + 1)
    with np.errstate(all="ignore"):
        positive = np.where(x > 0, x, 1 - x)
        value = sign * factorial(n) * hurwitz(n + 1, positive)
        if not np.any(x <= 0):
            return value
        r = x - np.rint(x)
        cotangent = np.cos(math.pi * r) / np.sin(math.pi * r)
        polynomial = np.zeros_like(x)
        for c in reversed(_cotangent(n)):
            polynomial = polynomial * cotangent + c
        # ψ(1 - x) - ψ(x) = π cot(πx), differentiated n times.
        reflected = (-1.0) ** n * value - math.pi ** (n + 1) * polynomial
        # At a pole even derivatives have both signs: PyTorch's, ζ's infinity, is taken.
        at_pole = (r == 0) & (x <= 0)
        value = np.where(x > 0, value, np.where(at_pole, sign * np.inf, reflected))
        return np.where(np.isneginf(x), np.nan, value)


def factorial(n: int) -> float:
    """n!, infinite where that is no float64."""
    return math.gamma(n + 1) if n < 170 else math.inf


@functools.cache
def _cotangent(n: int) -> tuple[float, ...]:
    """The n-th derivative of cot as a polynomial in cot: each is -(1 + c²) times the last's."""
    p = [0, 1]
    for _ in range(n):
        slope = [k * c for k, c in enumerate(p)][1:]
        p = [0] * (len(slope) + 2)
        for k, c in enumerate(slope):
            p[k] -= c
            p[k + 2] -= c
    return tuple(float(c) for c in p)
