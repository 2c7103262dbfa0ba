"""Twins of the incomplete gamma functions, of float32: ops/incomplete_numbers.py with fewer nodes.

The same integral in the logarithm of the variable, in float64, to eight digits. What is not
positive, huge or not finite is left to the reference, number by number.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels import mathematics as m
from distgrad.kernels.blocks import applied
from distgrad.kernels.gamma import stirling_rest
from distgrad.kernels.jit import inlined, kernel
from distgrad.kernels.scalars import empty_of
from distgrad.ops import incomplete_numbers
from distgrad.ops.gamma import lower_slopes, upper_slopes
from distgrad.ops.gamma_numbers import HALF_LOG_2PI, about_two
from distgrad.ops.helpers import within

_BLOCK = 256  # numbers at a time, which stay in the first cache
_NODES = 12
_DEEP = 20.0  # e⁻²⁰ of the integrand's largest value is nothing in float32
_FAR = 8.0
_LEAST, _MOST = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max)
_LARGE = float(np.nextafter(np.float32(1e12), np.float32(0)))


def igamma(a: Any, x: Any) -> OpResult | None:
    """The twin of ``ops.igamma``."""
    value = _tail(a, x, 0)
    return None if value is None else (value, lower_slopes(a, x))


def igammac(a: Any, x: Any) -> OpResult | None:
    """The twin of ``ops.igammac``."""
    value = _tail(a, x, 1)
    return None if value is None else (value, upper_slopes(a, x))


def _tail(a: Any, x: Any, upper: int) -> Array | None:
    value = applied(_tails, (a, x), np.dtype(np.float32), *_rule(), upper == 1)
    if value is not None:
        b, z = np.asarray(a), np.asarray(x)
        if not (within(b, _LEAST, _LARGE) and within(z, _LEAST, _MOST)):
            ours = (b >= _LEAST) & (b <= _LARGE) & (z >= _LEAST) & (z <= _MOST)
            pair = [v[~ours].astype(np.float64) for v in np.broadcast_arrays(a, x)]
            value[~ours] = incomplete_numbers.lower_and_upper(*pair)[upper]
    return value


@functools.cache
def _rule() -> tuple[Array, Array]:
    """Nodes and weights of Gauss and Legendre on (0, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return 0.5 * (nodes + 1), 0.5 * weights


@kernel
def _tails(a: Array, x: Array, y: Array, nodes: Array, weights: Array, upper: bool) -> None:
    """Let y = Q(a, x) if ``upper``, else P(a, x)."""
    deep, total = empty_of(_BLOCK, np.float64), empty_of(_BLOCK, np.float64)
    for begin in range(0, y.size, _BLOCK):
        b, z, part = a[begin : begin + _BLOCK], x[begin : begin + _BLOCK], y[begin : begin + _BLOCK]
        n = part.size
        for i in range(n):
            deep[i], total[i] = _deep(np.float64(b[i]), np.float64(z[i])), 0.0
        for k in range(nodes.size):
            for i in range(n):
                u = nodes[k] * deep[i]
                total[i] += weights[k] * m.exp(_phi(np.float64(b[i]), np.float64(z[i]), u))
        for i in range(n):
            tail = _front(np.float64(b[i]), np.float64(z[i]), abs(deep[i]) * total[i])
            part[i] = 1.0 - tail if _below(np.float64(b[i]), np.float64(z[i])) == upper else tail
        if upper:
            for i in range(n):
                if b[i] < 0.5 and z[i] <= 1.5:
                    part[i] = _small_upper(np.float64(b[i]), np.float64(z[i]))


@inlined
def _below(a: float, x: float) -> bool:
    """Whether the lower tail is computed, not the upper one."""
    return x <= a or x <= 1.5


@inlined
def _phi(a: float, x: float, u: float) -> Any:
    """a u + x (1 - eᵘ); below with a + 6, which the recurrence brings back to a."""
    return (a + 6.0 if _below(a, x) else a) * u - x * m.expm1(u)


@inlined
def _deep(a: float, x: float) -> float:
    """Where φ(u) = -20, below 0 for the lower tail: two of Newton's steps from beyond."""
    below = _below(a, x)
    top, sign = (a + 6.0, -1.0) if below else (a, 1.0)
    # eˢ - 1 - s ≥ s²/3 for -1 ≤ s, and s²/2 for 0 ≤ s.
    root = math.sqrt((3.0 if below else 2.0) * _DEEP / x)
    bound = (_DEEP + x) / top if below else m.log1p((_DEEP + top * root) / x)
    bound = root if root < bound and (root <= 1.0 or not below) else bound
    u = sign * bound
    for _ in range(2):
        e = m.expm1(u)
        u -= (top * u - x * e + _DEEP) / (top - x * (1.0 + e))
    return u


@inlined
def _front(a: float, x: float, area: float) -> Any:
    """The tail from the integral of e^φ."""
    # t = xᵃ e⁻ˣ / Γ(a + 1); Γ(a + 1) = Γ(a + 8) / p.
    near, p = a < _FAR, 1.0
    for k in range(1, 8):
        p *= a + k
    z = a + _FAR if near else a
    d = (x - a) / a
    log_z, log_x = m.log(z), m.log(x if near else x / a)
    small = a * log_x - x - (z - 0.5) * log_z + z
    large = a * (_log1p_minus(d) if abs(d) < 0.5 else log_x - d) - 0.5 * log_z
    t = m.exp((small if near else large) - HALF_LOG_2PI - stirling_rest(z))
    t = p * t if near else t
    # P(a, x) = t + P(a + 1, x), six times.
    total = 1.0 + x * area
    for k in range(5, 0, -1):
        total = 1.0 + x / (a + k) * total
    lower = t * total
    lower = lower if lower < 1.0 else 1.0
    return lower if _below(a, x) else a * t * area


@inlined
def _log1p_minus(d: float) -> Any:
    """log(1 + d) - d for |d| ≤ 1/2, without cancellation."""
    y = d / (2.0 + d)
    return y * (_odd_series(y * y) - d)


# 2 (artanh(y) / y - 1), of y².
_odd_series = m.polynomial(np.float64, [0.0, *(2 / k for k in range(3, 27, 2))])
# log Γ(2 + z) / z for |z| ≤ 1/2.
_about_two = m.polynomial(np.float64, about_two()[:18])


@inlined
def _small_upper(a: float, x: float) -> float:
    # Q = 1 - xᵃ/Γ(a+1) - xᵃ/Γ(a) Σ (-x)ⁿ / (n! (a + n)): small where a is, and exact there.
    power = a * math.log(x) - (a * _about_two(a) - math.log1p(a))
    total, term = 0.0, 1.0
    for n in range(1, 16):
        term *= -x / n
        total += term / (a + n)
    return -math.expm1(power) - a * math.exp(power) * total
