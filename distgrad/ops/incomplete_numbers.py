"""Values of incomplete gamma and beta integrals on float64 arrays. Knows no Tensor.

In the logarithm (gamma) or the logit (beta) of the variable both densities are log-concave, so the
tail on the side where the density falls is one Gauss-Legendre sum, as exact for a parameter of 10⁹
as for one of 2; recurrences bring small parameters there. The derivatives of a quantile in the
parameters are those of implicit reparametrisation: -(∂F/∂a) / (∂F/∂x) (Figurnov et al. 2018).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from distgrad.autograd.types import Array
from distgrad.ops.gamma_numbers import (
    HALF_LOG_2PI,
    digamma,
    hurwitz,
    log_gamma,
    near_two,
    stirling_rest,
)

_STEPS = 6  # how far recurrences raise a parameter: a density then falls like e⁻⁶ˢ or faster
_DEEP = 40.0  # e⁻⁴⁰ of the integrand's largest value is nothing


@functools.cache
def _rule() -> list[tuple[float, float]]:
    """Nodes and weights of Gauss and Legendre on (0, 1); made on first use, not on import."""
    nodes, weights = np.polynomial.legendre.leggauss(48)
    return list(zip((0.5 * (nodes + 1)).tolist(), (0.5 * weights).tolist(), strict=True))


def lower_and_upper(a: Array, x: Array) -> tuple[Array, Array]:
    """P(a, x) and Q(a, x), the regularised incomplete gamma functions, each with its own digits."""
    with np.errstate(all="ignore"):
        a, x = np.broadcast_arrays(a, x)
        log_x = np.log(x)
        lower = np.ones(a.shape)
        below = (x <= a) | (x <= 1.5)
        inside = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
        one, two = below & inside, ~below & inside
        if np.any(one):
            lower[one] = _lower_tail(a[one], x[one], log_x[one])
        upper = np.asarray(1 - lower)
        if np.any(two):
            upper[two] = np.exp(_log_front(a[two], x[two])) * _upper_sum(a[two], x[two])[0]
            lower[two] = 1 - upper[two]
        small = inside & (x <= 1.5) & (lower > 0.5)
        if np.any(small):
            upper[small] = _small_upper(a[small], x[small], log_x[small])
        nothing = (x == 0) & (a > 0) | np.isposinf(a) & np.isfinite(x) & (x >= 0)
        lower, upper = np.where(nothing, 0, lower), np.where(nothing, 1, upper)
        wrong = (a < 0) | (x < 0) | np.isnan(a) | np.isnan(x) | (a == 0) & (x == 0)
        wrong |= np.isinf(a) & np.isinf(x)
        return np.where(wrong, np.nan, lower), np.where(wrong, np.nan, upper)


def gamma_slope(a: Array, x: Array) -> Array:
    """dx/da of a Gamma(a, 1) sample ``x`` at a fixed level of its distribution function."""
    with np.errstate(all="ignore"):
        a, x = np.broadcast_arrays(a, x)
        slope = np.zeros(a.shape)
        below = (x <= a) | (x <= 1.5)
        one, two = below & (x > 0), ~below
        if np.any(one):
            slope[one] = _gamma_slope_below(a[one], x[one])
        if np.any(two):
            b, y = a[two], x[two]
            total, moment = _upper_sum(b, y)
            slope[two] = y * (moment + _log_over_digamma(b, y) * total)
        return np.where(np.isnan(a) | np.isnan(x), np.nan, slope)


def _log_front(a: Array, x: Array) -> Array:
    """log (xᵃ e⁻ˣ / Γ(a)), also where a and x are large and nearly equal."""
    d = (x - a) / a
    far = np.maximum(a, 10.0)
    near = a * _log1p_minus(np.clip(d, -0.5, 0.5))
    exponent = np.where(np.absolute(d) < 0.5, near, a * np.log(x / a) - (x - a))
    large = exponent + 0.5 * np.log(a) - HALF_LOG_2PI - stirling_rest(far)
    return np.where(a >= 10, large, a * np.log(x) - x - log_gamma(a))


def _log1p_minus(d: Array) -> Array:
    """log(1 + d) - d for |d| ≤ 1/2, without cancellation."""
    y = d / (2 + d)
    square = y * y
    series = np.zeros_like(y)
    for k in range(35, 1, -2):
        series = (series + 1 / k) * square
    found: Array = y * (2 * series - d)
    return found


def _log_over_digamma(a: Array, x: Array) -> Array:
    """log x - ψ(a); for large a from log(x / a), which keeps the digits of a small difference."""
    far = np.maximum(a, 100.0)
    i = 1 / (far * far)
    log_less_psi = 0.5 / far + i * (1 / 12 - i * (1 / 120 - i / 252))
    large = np.log1p((x - far) / far) + log_less_psi
    return np.where(a >= 100, large, np.log(x) - digamma(a))


def _lower_tail(a: Array, x: Array, log_x: Array) -> Array:
    # P(a, x) = xᵃ e⁻ˣ / Γ(a + 1) + P(a + 1, x), so many times.
    term = np.where(a >= 10, np.exp(_log_front(a, x)) / a, np.exp(a * log_x - x - _log_gamma_1(a)))
    total = np.zeros_like(a)
    for k in range(1, _STEPS + 1):
        total += term
        term = term * (x / (a + k))
    found: Array = np.minimum(total + term * (a + _STEPS) * _lower_sum(a + _STEPS, x)[0], 1.0)
    return found


def _log_gamma_1(a: Array) -> Array:
    """log Γ(1 + a) for a > 0, with the digits of a small a."""
    z = np.minimum(a, 0.5)
    return np.where(a <= 0.5, near_two(z) - np.log1p(z), log_gamma(1 + a))


def _small_upper(a: Array, x: Array, log_x: Array) -> Array:
    # Q = 1 - xᵃ/Γ(a+1) - xᵃ/Γ(a) Σ (-x)ⁿ / (n! (a + n)): small where a is, and exact there.
    power = a * log_x - _log_gamma_1(a)
    total, term = np.zeros_like(a), np.ones_like(a)
    for n in range(1, 28):
        term = term * (-x / n)
        total += term / (a + n)
    found: Array = -np.expm1(power) - a * np.exp(power) * total
    return found


def _gamma_slope_below(a: Array, x: Array) -> Array:
    # The slope of P's recurrence: that at a from that at a + 1.
    top = a + _STEPS
    total, moment = _lower_sum(top, x)
    slope = -x * (moment + _log_over_digamma(top, x) * total)
    log_less_psi = _log_over_digamma(top, x)
    for k in range(_STEPS - 1, -1, -1):
        b = a + k
        # -log x + ψ(b + 1), where ψ(b) = ψ(b + 1) - 1/b.
        slope = x / b * (slope - log_less_psi)
        log_less_psi = log_less_psi + 1 / b
    found: Array = slope
    return found


def _lower_sum(a: Array, x: Array) -> tuple[Array, Array]:
    """∫ e^φ and ∫ u e^φ over u < 0 of φ(u) = a u + x (1 - eᵘ), for x ≤ a."""
    # φ(-L) = -40 by Newton's steps from above.
    deep = np.minimum((_DEEP + x) / a, _where_cubic(np.sqrt(3 * _DEEP / x)))
    for _ in range(5):
        decay = np.exp(-deep)
        deep = deep - (a * deep - x * (1 - decay) - _DEEP) / np.maximum(a - x * decay, 1e-300)
    return _legendre(lambda s: a * -s - x * np.expm1(-s), deep, -1)


def _where_cubic(bound: Array) -> Array:
    # eˢ - 1 - s ≥ s²/3 for -1 ≤ s: a bound beyond 1 is none.
    return np.where(bound <= 1, bound, np.inf)


def _upper_sum(a: Array, x: Array) -> tuple[Array, Array]:
    """∫ e^φ and ∫ u e^φ over u > 0, for x ≥ a and x ≥ 1.5."""
    deep = np.sqrt(2 * _DEEP / x)
    deep = np.minimum(deep, np.log1p((_DEEP + a * deep) / x))
    for _ in range(5):
        growth = np.expm1(deep)
        deep = deep - (x * growth - a * deep - _DEEP) / (x * growth + (x - a))
    return _legendre(lambda s: a * s - x * np.expm1(s), deep, 1)


def _legendre(phi: Callable[[Array], Array], deep: Array, sign: int) -> tuple[Array, Array]:
    total, moment = np.zeros_like(deep), np.zeros_like(deep)
    for node, weight in _rule():
        s = node * deep
        value = weight * np.exp(phi(s))
        total += value
        moment += s * value
    return deep * total, sign * deep * moment


def beta_slope(a: Array, b: Array, x: Array, y: Array) -> Array:
    """dx/da of a Beta(a, b) sample ``x`` = 1 - ``y`` at a fixed level of its distribution."""
    with np.errstate(all="ignore"):
        a, b, x, y = np.broadcast_arrays(a, b, x, y)
        c = a + b
        left = x <= 0.5
        lower = np.where(left, (x * b <= y * a) | (x * c <= 1.5), (x * b <= y * a) & (y * c > 1.5))
        slope = np.zeros(a.shape)
        inner = (x > 0) & (y > 0)
        one, two = lower & inner, ~lower & inner
        if np.any(one):
            slope[one] = _beta_slope_below(a[one], b[one], x[one], y[one])
        if np.any(two):
            slope[two] = _beta_slope_above(a[two], b[two], x[two], y[two])
        return np.where(np.isnan(c) | np.isnan(x), np.nan, slope)


def _psi_difference(c: Array, a: Array) -> Array:
    """ψ(c) - ψ(a), also where c is a plus a little."""
    d, middle = c - a, 0.5 * (a + c)
    near = np.absolute(d) < 1e-3 * a
    # The odd derivatives at the middle: the first is ζ(2, ·), the third 6 ζ(4, ·).
    close = d * (hurwitz(2, middle) + 0.25 * d * d * hurwitz(4, middle))
    return np.where(near, close, digamma(c) - digamma(a))


def _beta_slope_below(a: Array, b: Array, x: Array, y: Array) -> Array:
    top, c = a + _STEPS, a + b
    mean_log = _psi_difference(c + _STEPS, top)  # -E log t of Beta(a + 6, b)
    log_x = np.where(x <= 0.5, np.log(x), np.log1p(-y))
    total, moment = _logit_sum(top, b, x, y, -1)
    slope = -x * y * (moment + (log_x + mean_log) * total)
    for k in range(_STEPS - 1, -1, -1):
        at, sum_at = a + k, c + k
        # I(a, b) = I(a + 1, b) + T, ∂log T/∂a = log x - ψ(a + 1) + ψ(a + b).
        excess = log_x + _psi_difference(sum_at, at + 1)
        slope = x / at * (sum_at * slope - y * excess)
    found: Array = slope
    return found


def _beta_slope_above(a: Array, b: Array, x: Array, y: Array) -> Array:
    top, c = b + _STEPS, a + b
    log_x = np.where(x <= 0.5, np.log(x), np.log1p(-y))
    total, moment = _logit_sum(a, top, x, y, 1)
    slope = x * y * (moment + (log_x + _psi_difference(c + _STEPS, a)) * total)
    for k in range(_STEPS - 1, -1, -1):
        at, sum_at = b + k, c + k
        slope = y / at * (sum_at * slope + x * (log_x + _psi_difference(sum_at, a)))
    found: Array = slope
    return found


def _logit_sum(a: Array, b: Array, x: Array, y: Array, sign: int) -> tuple[Array, Array]:
    """∫ e^φ and ∫ log(t/x) e^φ over the logit's side ``sign``, φ(v) = a log t + b log(1 - t).

    φ is 0 at x. With s the way from x, t/x = e^±ˢ / (y + x e^±ˢ) and (1-t)/y = 1 / (y + x e^±ˢ).
    """

    def logs(s: Array) -> tuple[Array, Array]:
        # log(y + x eᵘ) with u = ± s, without overflow; log(t / x) = u - it.
        if sign < 0:
            shrunk = np.log1p(x * np.expm1(-s))
            return -s - shrunk, -shrunk
        grown = np.log1p(y * np.expm1(-s))  # log(y + x eˢ) = s + log(x + y e⁻ˢ)
        return -grown, -s - grown

    # φ is concave: from beyond the place where it is -40 Newton's steps never pass it.
    rate = a if sign < 0 else b
    extra = b * -np.log(y) if sign < 0 else a * -np.log(x)
    # Within s ≤ 1 its curvature shrinks to a third at most.
    close = _where_cubic(np.sqrt(6 * _DEEP / ((a + b) * x * y)))
    deep = np.minimum((_DEEP + extra) / rate, close)
    for _ in range(6):
        one, two = logs(deep)
        # dφ/ds: x moves to t = x e^one, 1 - t = y e^two.
        fall = -sign * (a * y * np.exp(two) - b * x * np.exp(one))
        deep = np.maximum(deep + (a * one + b * two + _DEEP) / np.maximum(fall, 1e-300), 1e-300)
    total, moment = np.zeros_like(deep), np.zeros_like(deep)
    for node, weight in _rule():
        one, two = logs(node * deep)
        value = weight * np.exp(a * one + b * two)
        total += value
        moment += one * value
    return deep * total, deep * moment
