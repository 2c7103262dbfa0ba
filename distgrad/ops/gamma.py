"""The gamma function's logarithm, its derivatives and its incomplete integrals.

Computed in float64 whatever the dtype, with errors near machine epsilon; gradients of every order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from distgrad.autograd.apart import apart, fixed
from distgrad.autograd.op import Op, OpResult, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import GradError, ShapeError
from distgrad.ops import gamma_numbers, incomplete_numbers
from distgrad.ops.exponential import xlogy
from distgrad.ops.helpers import data_of, either, either_fused, fractional

Slope: TypeAlias = "Callable[[Array], Array]"


@op("... -> ...", domain=(0.3, 4.0), real=True)
def lgamma(a: Array) -> OpResult:
    """log |Γ(a)|."""
    return _in_double(gamma_numbers.log_gamma, a), lambda g: g * either(digamma, a)


@op("... -> ...", domain=(0.3, 4.0), real=True)
def digamma(a: Array) -> OpResult:
    """ψ(a), the derivative of log Γ(a)."""
    return _in_double(gamma_numbers.digamma, a), lambda g: g * either(polygamma, a, n=1)


@op(
    "... -> ...",
    samples=lambda rng: [((rng.uniform(0.5, 3, (2, 3)),), {"n": n}) for n in (0, 1, 3)],
    real=True,
)
def polygamma(a: Array, *, n: int) -> OpResult:
    """ψ⁽ⁿ⁾(a), the n-th derivative of ψ (DLMF 5.15); ShapeError for a negative n."""
    if n < 0:
        raise ShapeError(f"polygamma: n={n} is a number of derivatives; it must be 0 or more")
    value = _in_double(lambda x: gamma_numbers.polygamma(n, x), a)
    return value, lambda g: g * either(polygamma, a, n=n + 1)


def _orders(rng: np.random.Generator) -> list[tuple[tuple[Array, Array], dict[str, int]]]:
    # In float32, so that second gradients are checked in x alone: they are of first order in a.
    a = rng.uniform(0.8, 3.0, (2, 3)).astype(np.float32)
    return [((a, rng.uniform(0.5, 4.0, (2, 3))), {}), ((a[0, 0], rng.uniform(0.5, 4.0, 3)), {})]


@op("..., ... -> ...", samples=_orders, real=True)
def igamma(a: Array, x: Array) -> OpResult:
    """P(a, x) = ∫₀ˣ tᵃ⁻¹ e⁻ᵗ dt / Γ(a); of second order in x alone."""
    value = _pair_in_double(lambda a, x: incomplete_numbers.lower_and_upper(a, x)[0], a, x)
    return value, lower_slopes(a, x)


@op("..., ... -> ...", samples=_orders, real=True)
def igammac(a: Array, x: Array) -> OpResult:
    """Q(a, x) = 1 - P(a, x), exact where it is small; of second order in x alone."""
    value = _pair_in_double(lambda a, x: incomplete_numbers.lower_and_upper(a, x)[1], a, x)
    return value, upper_slopes(a, x)


def lower_slopes(a: Array, x: Array) -> tuple[Slope, Slope]:
    """How gradients of P(a, x) go back to a and to x."""
    return lambda g: g * either(_igamma_slope, a, x), lambda g: g * _gamma_density(a, x)


def upper_slopes(a: Array, x: Array) -> tuple[Slope, Slope]:
    """How gradients of Q(a, x) go back to a and to x."""
    return lambda g: -g * either(_igamma_slope, a, x), lambda g: -g * _gamma_density(a, x)


def _gamma_density(a: Array, x: Array) -> Array:
    """xᵃ⁻¹ e⁻ˣ / Γ(a)."""
    density: Array = np.exp(either(xlogy, a - 1, x) - x - either_fused(lgamma, a))
    return density


def _slope(a: Array, x: Array) -> OpResult:
    """∂P(a, x)/∂a."""

    def refuse(_: Array) -> Array:
        raise GradError(
            "igamma and igammac have no second gradient through their first argument; .detach() it"
        )

    def value(a: Array, x: Array) -> Array:
        log_density = (a - 1) * np.log(x) - x - gamma_numbers.log_gamma(a)
        slope = -incomplete_numbers.gamma_slope(a, x) * np.exp(log_density)
        return np.where(x > 0, slope, 0.0)

    return _pair_in_double(value, a, x), (refuse, refuse)


# No member of the registry: its own gradient is refused.
_igamma_slope = Op(_slope, ("..., ... -> ...",), None, (0.5, 2.0), False)


@apart
def _check_mvlgamma(x: Tensor, p: int) -> None:
    if np.any(x.array <= (p - 1) / 2):
        raise ShapeError(f"mvlgamma: all elements must exceed (p - 1) / 2 = {(p - 1) / 2}")


def mvlgamma(a: TensorLike, p: int) -> Tensor:
    """log of the multivariate gamma function Γₚ(a), elementwise (James 1964).

    Errors: ShapeError unless p ≥ 1 and every a > (p - 1) / 2.
    """
    if p < 1:
        raise ShapeError(f"mvlgamma: p={p} is a dimension; it must be 1 or more")
    x = a if isinstance(a, Tensor) else Tensor(a)
    _check_mvlgamma(x, p)
    below = fixed(np.arange(p, dtype=fractional(x.dtype)) / -2)
    terms = lgamma(np.expand_dims(x, -1) + below)
    value: Tensor = np.sum(terms, axis=-1) + p * (p - 1) / 4 * math.log(math.pi)
    return value


def betaln(a: TensorLike, b: TensorLike) -> Tensor:
    """log B(a, b) = log Γ(a) + log Γ(b) - log Γ(a + b)."""
    x, y = (v if isinstance(v, Tensor) else Tensor(v) for v in (a, b))
    value: Tensor = lgamma(x) + lgamma(y) - lgamma(x + y)
    return value


def _in_double(function: Callable[[Array], Array], a: Array) -> Array:
    x = np.asarray(data_of(a))
    return function(x.astype(np.float64)).astype(fractional(x.dtype))


def _pair_in_double(function: Callable[[Array, Array], Array], a: Array, x: Array) -> Array:
    one, two = data_of(a), data_of(x)
    dtype = fractional(np.result_type(one, two))
    with np.errstate(all="ignore"):
        value = function(np.asarray(one, np.float64), np.asarray(two, np.float64))
    return value.astype(dtype)
