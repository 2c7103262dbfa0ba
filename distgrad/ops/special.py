"""The error function and the normal distribution, with a small relative error everywhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array

_SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)

# Chebyshev coefficients in 2t - 1 of log(erfc(z) / t) + z², where t = 2 / (2 + z), z ≥ 0 (the form
# is that of Press et al., Numerical Recipes, 6.2; computed to 50 digits). One smooth function for
# all z: no branches, and a relative error near machine epsilon in the tail as well.
ERFC = (
    -1.3026537197817094,
    0.6419697923564902,
    0.019476473204185836,
    -0.009561514786808632,
    -0.0009465953444820369,
    0.00036683949785276145,
    4.252332480690777e-05,
    -2.0278578112534242e-05,
    -1.6242900046470256e-06,
    1.3036558355805232e-06,
    1.5626441722066142e-08,
    -8.523809591492654e-08,
    6.5290544390988515e-09,
    5.059343495551469e-09,
    -9.91364156493033e-10,
    -2.273651222931836e-10,
    9.646791102015527e-11,
    2.3940380830391146e-12,
    -6.886027526497553e-12,
    8.944879273090725e-13,
    3.130921399342958e-13,
    -1.1270822361367252e-13,
    3.810905255189232e-16,
    7.106097613609237e-15,
    -1.5230282014571043e-15,
    -9.457494571291233e-17,
)
ERFC_FLOAT32 = 12  # so many of them are enough for float32

# erf(x) / x by Taylor's series in x², for |x| < 1/2, where 1 - erfc(x) would lose digits.
ERF = [_TWO_OVER_SQRT_PI * (-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(13)]


@op("... -> ...", domain=(-1.5, 1.5), real=True)
def erf(a: Array) -> OpResult:
    """The error function 2/√π ∫₀ᵃ exp(-t²) dt."""
    return _erf(a), lambda g: g * (_TWO_OVER_SQRT_PI * np.exp(-a * a))


@op("... -> ...", domain=(-1.5, 1.5), real=True)
def erfc(a: Array) -> OpResult:
    """1 - erf(a), exact in the tail."""
    return _erfc(a), lambda g: g * (-_TWO_OVER_SQRT_PI * np.exp(-a * a))


@op("... -> ...", real=True)
def normal_cdf(a: Array) -> OpResult:
    """Φ(a), the standard normal distribution function, with a small relative error everywhere."""
    return cdf(a), lambda g: g * (INV_SQRT_2PI * np.exp(-0.5 * a * a))


def cdf(a: Array | Tensor) -> Any:
    """``normal_cdf`` for arrays and Tensors alike: a gradient closure may hold either."""
    if isinstance(a, Tensor):
        return normal_cdf(a)
    tail = 0.5 * _tail(np.absolute(a) * _SQRT_HALF)
    return np.where(a < 0, tail, 1 - tail)


def _erf(a: Array | Tensor) -> Any:
    if isinstance(a, Tensor):
        return erf(a)
    z = np.absolute(a)
    square = np.minimum(z, 0.5) ** 2
    series = np.zeros_like(square)
    for c in reversed(ERF):
        series = series * square + c
    return np.where(z < 0.5, a * series, np.copysign(1 - _tail(z), a))


def _erfc(a: Array | Tensor) -> Any:
    if isinstance(a, Tensor):
        return erfc(a)
    tail = _tail(np.absolute(a))
    return np.where(a < 0, 2 - tail, tail)


def _tail(z: Array) -> Array:
    """erfc(z) for z ≥ 0 by Clenshaw's recurrence."""
    t = 2 / (2 + z)
    twice = 4 * t - 2
    d = dd = np.zeros_like(z)
    count = ERFC_FLOAT32 if z.dtype == np.float32 else len(ERFC)
    for c in ERFC[count - 1 : 0 : -1]:
        d, dd = twice * d - dd + c, d
    tail: Array = t * np.exp(0.5 * twice * d - dd + 0.5 * ERFC[0] - z * z)
    return tail
