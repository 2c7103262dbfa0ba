"""Activations and dropout: elementwise operations of neural networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import Sample, op
from distgrad.autograd.tensor import Array, Tensor

_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)

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


@op("... -> ...")
def relu(a: Any) -> Any:
    """max(a, 0); the gradient at 0 is 0."""
    y = np.maximum(a, 0)
    return y, lambda g: g * (y > 0)


@op("... -> ...")
def sigmoid(a: Any) -> Any:
    """1 / (1 + exp(-a)), without overflow."""
    y = 0.5 * np.tanh(0.5 * a) + 0.5
    return y, lambda g: g * y * (1 - y)


@op("... -> ...")
def softplus(a: Any) -> Any:
    """log(1 + exp(a)), without overflow."""
    return np.maximum(a, 0) + np.log1p(
        np.exp(-np.absolute(a))
    ), lambda g: g * sigmoid.function(a)[0]


@op("... -> ...")
def gelu_tanh(a: Any) -> Any:
    """The tanh form of GELU: a/2 (1 + tanh(√(2/π) (a + 0.044715 a³))) (Hendrycks & Gimpel 2016)."""
    t = np.tanh(_SQRT_2_OVER_PI * (a + 0.044715 * a * a * a))

    def vjp(g: Any) -> Any:
        slope = _SQRT_2_OVER_PI * (1 + 3 * 0.044715 * a * a)
        return g * (0.5 * (1 + t) + 0.5 * a * (1 - t * t) * slope)

    return 0.5 * a * (1 + t), vjp


@op("... -> ...")
def normal_cdf(a: Any) -> Any:
    """Φ(a), the standard normal distribution function, with a small relative error everywhere."""
    return cdf(a), lambda g: g * (_INV_SQRT_2PI * np.exp(-0.5 * a * a))


@op("... -> ...")
def gelu(a: Any) -> Any:
    """The exact form of GELU: a Φ(a) (Hendrycks & Gimpel 2016), PyTorch's default."""
    phi = cdf(a)
    return a * phi, lambda g: g * (phi + a * (_INV_SQRT_2PI * np.exp(-0.5 * a * a)))


def cdf(a: Any) -> Any:
    """``normal_cdf`` for arrays and Tensors alike: a gradient closure may hold either."""
    if isinstance(a, Tensor):
        return normal_cdf(a)
    tail = _upper_tail(np.absolute(a))
    return np.where(a < 0, tail, 1 - tail)


def _upper_tail(a: Array) -> Array:
    """1 - Φ(a) for a ≥ 0: erfc(a / √2) / 2 by Clenshaw's recurrence."""
    z = a * _SQRT_HALF
    t = 2 / (2 + z)
    twice = 4 * t - 2
    d = dd = np.zeros_like(z)
    count = ERFC_FLOAT32 if z.dtype == np.float32 else len(ERFC)
    for c in ERFC[count - 1 : 0 : -1]:
        d, dd = twice * d - dd + c, d
    tail: Array = 0.5 * t * np.exp(0.5 * twice * d - dd + 0.5 * ERFC[0] - z * z)
    return tail


def _dropped(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=(3, 4)), rng.random((3, 4)) < 0.7), {"p": 0.3})]


@op("..., ... -> ...", samples=_dropped)
def dropout(a: Any, keep: Any, *, p: float) -> Any:
    """Elements of a where ``keep`` (boolean) holds, over 1 - p; zeros elsewhere."""
    scale = keep * np.asarray(1 / (1 - p) if p < 1 else 0.0, a.dtype)
    return a * scale, (lambda g: g * scale, None)
