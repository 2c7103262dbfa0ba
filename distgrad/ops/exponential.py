"""Exponentials and logarithms, and sums of them that do not overflow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array
from distgrad.ops.activation import sigmoid
from distgrad.ops.helpers import aside, conjugate, data_of, fractional, weak

_LN2, _LN10 = math.log(2.0), math.log(10.0)


@op("... -> ...", ufunc=np.exp)
def exp(a: Array) -> OpResult:
    """e ** a."""
    y = np.exp(a)
    return y, lambda g: g * conjugate(y)


@op("... -> ...", ufunc=np.exp2)
def exp2(a: Array) -> OpResult:
    """2 ** a."""
    y = np.exp2(a)
    return y, lambda g: g * conjugate(y * _LN2)


@op("... -> ...", ufunc=np.expm1)
def expm1(a: Array) -> OpResult:
    """exp(a) - 1, exact for small a."""
    y = np.expm1(a)
    return y, lambda g: g * conjugate(y + 1)


@op("... -> ...", ufunc=np.log, domain=(0.2, 3.0))
def log(a: Array) -> OpResult:
    """The natural logarithm."""
    return np.log(a), lambda g: g / conjugate(a)


@op("... -> ...", ufunc=np.log2, domain=(0.2, 3.0))
def log2(a: Array) -> OpResult:
    """The logarithm to base 2."""
    return np.log2(a), lambda g: g / conjugate(a * _LN2)


@op("... -> ...", ufunc=np.log10, domain=(0.2, 3.0))
def log10(a: Array) -> OpResult:
    """The logarithm to base 10."""
    return np.log10(a), lambda g: g / conjugate(a * _LN10)


@op("... -> ...", ufunc=np.log1p, domain=(-0.5, 2.0))
def log1p(a: Array) -> OpResult:
    """log(1 + a), exact for small a."""
    return np.log1p(a), lambda g: g / conjugate(a + 1)


def _limits(rng: np.random.Generator) -> list[Sample]:
    p = rng.uniform(0.1, 0.9, (2, 3))
    return [((p,), {}), ((p,), {"low": 0.4, "high": 0.6})]


@op("... -> ...", samples=_limits, real=True)
def logit(a: Array, *, low: float = -math.inf, high: float = math.inf) -> OpResult:
    """log(p / (1 - p)), p being a limited to [low, high]; NaN outside of [0, 1].

    Without limits it is the inverse of ``sigmoid``.
    """
    x = data_of(a)
    bounded = low > -math.inf or high < math.inf
    p = np.minimum(np.maximum(a, low), high) if bounded else a
    q = data_of(p)
    p = np.where((q >= 0) & (q <= 1), p, np.asarray(np.nan, fractional(a.dtype)))

    def vjp(g: Array) -> Array:
        d = g / (p * (1 - p))
        return np.where((x < low) | (x > high), np.zeros((), d.dtype), d) if bounded else d

    return np.log(p / (1 - p)), vjp


@op("..., ... -> ...", ufunc=np.logaddexp)
def logaddexp(a: Array | float, b: Array | float) -> OpResult:
    """log(exp(a) + exp(b)), without overflow."""
    return np.logaddexp(a, b), (
        lambda g: g * sigmoid.function(_difference(a, b))[0],
        lambda g: g * sigmoid.function(_difference(b, a))[0],
    )


@op("..., ... -> ...", ufunc=np.logaddexp2)
def logaddexp2(a: Array | float, b: Array | float) -> OpResult:
    """log2(2 ** a + 2 ** b), without overflow."""
    return np.logaddexp2(a, b), (
        lambda g: g * sigmoid.function(_LN2 * _difference(a, b))[0],
        lambda g: g * sigmoid.function(_LN2 * _difference(b, a))[0],
    )


def _difference(a: Array | float, b: Array | float) -> Array | float:
    # Two equal infinities differ by 0, not by NaN: they share the gradient.
    x, y = data_of(a), data_of(b)
    both = np.isinf(x) & (x == y)
    return np.where(both, 0, a) - np.where(both, 0, b) if np.any(both) else a - b


def _is_nothing(a: Any, b: Any) -> Any:
    return (a == 0) & ~np.isnan(b)


def _has_no_log(nothing: Any, b: Any) -> Any:
    return nothing & (b <= 0)


@op("..., ... -> ...", domain=(0.5, 2.0), real=True)
def xlogy(a: Array | float, b: Array | float) -> OpResult:
    """a log b, and 0 where a is 0, unless b is NaN."""
    b = weak(b, a)
    nothing = aside(_is_nothing, a, b)
    log_b = np.log(np.where(aside(_has_no_log, nothing, b), 1, b))
    return np.where(nothing, 0, a * log_b), (
        lambda g: g * log_b,
        lambda g: g * (a / np.where(nothing, 1, b)),
    )
