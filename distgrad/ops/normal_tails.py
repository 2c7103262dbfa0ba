"""Exact in the tails of the normal distribution: erfcx and log Φ; entropy, x log(1 + y)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, op
from distgrad.autograd.types import Array
from distgrad.ops.helpers import data_of, either_fused, weak
from distgrad.ops.special import ERFC, INV_SQRT_2PI, cdf

_SQRT_HALF = math.sqrt(0.5)
TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)


@op("... -> ...", domain=(-1.5, 3.0), real=True)
def erfcx(a: Array) -> OpResult:
    """exp(a²) erfc(a), without underflow for large a."""
    return _erfcx(data_of(a)), lambda g: g * (2 * a * either_fused(erfcx, a) - TWO_OVER_SQRT_PI)


def _erfcx(a: Array) -> Array:
    z = np.absolute(a)
    t = 2 / (2 + z)
    twice = 4 * t - 2
    d = dd = np.zeros_like(z)
    for c in ERFC[:0:-1]:
        d, dd = twice * d - dd + c, d
    scaled = t * np.exp(0.5 * twice * d - dd + 0.5 * ERFC[0])
    with np.errstate(over="ignore"):
        return np.where(a < 0, 2 * np.exp(z * z) - scaled, scaled)


@op("... -> ...", domain=(-3.0, 3.0), real=True)
def log_ndtr(a: Array) -> OpResult:
    """log Φ(a) of the standard normal distribution, exact in both tails."""
    x = data_of(a)
    below, above = np.minimum(x, 0), np.maximum(x, 0)
    lower = np.log(0.5 * _erfcx(-below * _SQRT_HALF)) - 0.5 * below * below
    value = np.where(x < 0, lower, np.log1p(-cdf(-above)))

    def vjp(g: Array) -> Any:
        near, far = np.maximum(a, 0), np.minimum(a, 0)
        # φ / Φ: through erfcx where both vanish.
        slope = np.where(
            x < 0,
            2 * INV_SQRT_2PI / either_fused(erfcx, -far * _SQRT_HALF),
            INV_SQRT_2PI * np.exp(-0.5 * near * near) / cdf(near),
        )
        return g * slope

    return value, vjp


@op("... -> ...", domain=(0.2, 2.0), real=True)
def entr(a: Array) -> OpResult:
    """-a log a; 0 at 0, -inf below."""
    x = data_of(a)
    inside = np.where(x > 0, x, 1)
    value = np.where(x > 0, -x * np.log(inside), np.where(x < 0, -np.inf, x))

    def vjp(g: Array) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return -g * (1 + np.log(a))

    return value, vjp


@op("..., ... -> ...", domain=(0.2, 2.0), real=True)
def xlog1py(a: Array, b: Array) -> OpResult:
    """a log(1 + b); 0 where a is 0, unless b is NaN."""
    b = weak(b, a)
    nothing = (data_of(a) == 0) & ~np.isnan(data_of(b))
    with np.errstate(divide="ignore", invalid="ignore"):
        log_b = np.log1p(np.where(nothing & (data_of(b) <= -1), 0, b))
        value = np.where(nothing, 0, a * log_b)
    return value, (lambda g: g * log_b, lambda g: g * (a / (b + 1)))
