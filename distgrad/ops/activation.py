"""Activations and dropout: elementwise operations of neural networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, Samples, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.ops.helpers import ONE, ZERO, aside, conjugate, either_fused, fractional
from distgrad.ops.slopes import sigmoid_backward
from distgrad.ops.special import INV_SQRT_2PI, cdf

_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)


def _with(*settings: dict[str, Any]) -> Samples:
    """Samples of one input, on both sides of the kinks, with each of the settings."""

    def draw(rng: np.random.Generator) -> list[Sample]:
        return [((rng.uniform(-5, 5, (2, 3)),), s) for s in settings]

    return draw


@op("... -> ...", real=True)
def relu(a: Array) -> OpResult:
    """max(a, 0); the gradient at 0 is 0."""
    y = np.maximum(a, ZERO.beside(a))
    return y, lambda g: g * (y != 0)  # not y > 0, which NaN is not: it passes, as in PyTorch


@op("... -> ...", samples=_with({"negative_slope": 0.1}), real=True)
def leaky_relu(a: Array, *, negative_slope: float = 0.01) -> OpResult:
    """a where it is positive, ``negative_slope`` · a elsewhere (Maas et al. 2013)."""
    return np.where(a > 0, a, negative_slope * a), lambda g: np.where(a > 0, g, negative_slope * g)


@op("..., ... -> ...", real=True)
def prelu(a: Array, weight: Array) -> OpResult:
    """a where it is positive, ``weight`` · a elsewhere (He et al. 2015)."""
    return np.where(a > 0, a, weight * a), (
        lambda g: np.where(a > 0, g, weight * g),
        lambda g: np.where(a > 0, 0, g * a),
    )


@op("... -> ...", samples=_with({"min_val": -1.0, "max_val": 2.5}), real=True)
def hardtanh(a: Array, *, min_val: float = -1.0, max_val: float = 1.0) -> OpResult:
    """a limited to [min_val, max_val]; no gradient flows at the bounds or outside."""
    y = np.minimum(np.maximum(a, min_val), max_val)
    return y, lambda g: g * ~((a <= min_val) | (a >= max_val))


@op("... -> ...", samples=_with({}), real=True)
def hardsigmoid(a: Array) -> OpResult:
    """a / 6 + 1/2, limited to [0, 1]."""
    y = np.minimum(np.maximum(a / 6 + 0.5, 0), 1)
    return y, lambda g: g * ((a > -3) & (a < 3)) / 6


@op("... -> ...", samples=_with({}), real=True)
def hardswish(a: Array) -> OpResult:
    """a · hardsigmoid(a) (Howard et al. 2019)."""
    y = a * np.minimum(np.maximum(a / 6 + 0.5, 0), 1)
    return y, lambda g: g * np.where(a < 3, np.where(a > -3, a / 3 + 0.5, 0), 1)


@op("... -> ...", samples=_with({"lambd": 1.5}), real=True)
def hardshrink(a: Array, *, lambd: float = 0.5) -> OpResult:
    """a where |a| > λ, 0 elsewhere."""
    near = np.absolute(a) <= lambd
    return np.where(near, 0, a), lambda g: g * ~near


@op("... -> ...", samples=_with({"lambd": 1.5}), real=True)
def softshrink(a: Array, *, lambd: float = 0.5) -> OpResult:
    """a moved towards 0 by λ, 0 where |a| ≤ λ."""
    y = a - np.minimum(np.maximum(a, -lambd), lambd)
    return y, lambda g: g * ~(np.absolute(a) <= lambd)


@op("... -> ...", samples=_with({"threshold": 1.0, "value": -2.0}), real=True)
def threshold(a: Array, *, threshold: float, value: float) -> OpResult:
    """a where it exceeds ``threshold``, ``value`` elsewhere; NaN stays."""
    below = a <= threshold
    return np.where(below, value, a), lambda g: g * ~below


@op("... -> ...")
def sigmoid(a: Array | Tensor) -> OpResult:
    """1 / (1 + exp(-a)), without overflow, and right in all digits where it is next to 0."""
    if a.dtype.kind == "c":
        y = 0.5 * np.tanh(0.5 * a) + 0.5
        return y, lambda g: g * conjugate(y * (1 - y))
    if isinstance(a, Tensor):  # run again on the tape: no derivative of what is below, at 0
        y = sigmoid(a)
    else:
        one, e = ONE.beside(a), np.exp(-np.absolute(a))
        y = np.where(a < 0, e, one) / (one + e)
    return y, of_sigmoid(y)


def of_sigmoid(y: Array) -> Callable[[Array], Array]:
    """Return the closure of ``sigmoid``, whose value is the real ``y``."""
    return lambda g: either_fused(sigmoid_backward, g, y)


@op("... -> ...", samples=_with({}), real=True)
def logsigmoid(a: Array) -> OpResult:
    """log(1 / (1 + exp(-a))), without overflow."""
    y = np.minimum(a, 0) - np.log1p(np.exp(-np.absolute(a)))
    return y, lambda g: g * sigmoid.function(-a)[0]


@op("... -> ...", samples=_with({}, {"beta": 2.0, "threshold": 3.0}), real=True)
def softplus(a: Array, *, beta: float = 1.0, threshold: float = math.inf) -> OpResult:
    """log(1 + exp(β a)) / β, without overflow; a itself where β a exceeds ``threshold``."""
    x = a if beta == 1 else beta * a
    y = np.maximum(x, 0) + np.log1p(np.exp(-np.absolute(x)))
    if beta != 1:
        y = y / beta
    if threshold == math.inf:
        return y, lambda g: g * sigmoid.function(x)[0]
    linear = x > threshold
    return np.where(linear, a, y), lambda g: np.where(linear, g, g * sigmoid.function(x)[0])


@op("... -> ...", real=True)
def silu(a: Array) -> OpResult:
    """a · sigmoid(a), also called swish (Elfwing et al. 2017)."""
    s = sigmoid.function(a)[0]
    return a * s, lambda g: g * (s * (1 + a * (1 - s)))


@op("... -> ...", real=True)
def mish(a: Array) -> OpResult:
    """a · tanh(softplus(a)) (Misra 2019)."""
    t = np.tanh(softplus.function(a)[0])
    return a * t, lambda g: g * (t + a * (1 - t * t) * sigmoid.function(a)[0])


@op("... -> ...", samples=_with({}, {"alpha": 1.5, "scale": 0.7, "rate": 1.3}), real=True)
def elu(a: Array, *, alpha: float = 1.0, scale: float = 1.0, rate: float = 1.0) -> OpResult:
    """scale · a where it is positive, scale · α (exp(rate · a) - 1) elsewhere; also SELU and CELU.

    ELU: Clevert et al. 2016; SELU: Klambauer et al. 2017; CELU: Barron 2017.
    """
    below = rate * np.where(a > 0, 0, a)
    y = scale * np.where(a > 0, a, alpha * np.expm1(below))

    def vjp(g: Array) -> Any:  # low + α would have no digits far below 0
        return scale * np.where(a > 0, g, g * (rate * alpha * np.exp(below)))

    return y, vjp


@op("... -> ...", samples=_with({}), real=True)
def softsign(a: Array) -> OpResult:
    """a / (1 + |a|)."""
    d = 1 + np.absolute(a)
    return a / d, lambda g: g / d / d


@op("... -> ...", samples=_with({}), real=True)
def tanhshrink(a: Array) -> OpResult:
    """a - tanh(a)."""
    t = np.tanh(a)
    return a - t, lambda g: g * t * t


@op("... -> ...", real=True)
def gelu_tanh(a: Array) -> OpResult:
    """The tanh form of GELU: a/2 (1 + tanh(√(2/π) (a + 0.044715 a³))) (Hendrycks & Gimpel 2016)."""
    t = np.tanh(_SQRT_2_OVER_PI * (a + 0.044715 * a * a * a))

    def vjp(g: Array) -> Any:
        slope = _SQRT_2_OVER_PI * (1 + 3 * 0.044715 * a * a)
        return g * (0.5 * (1 + t) + 0.5 * a * (1 - t * t) * slope)

    return 0.5 * a * (1 + t), vjp


@op("... -> ...", real=True)
def gelu(a: Array) -> OpResult:
    """The exact form of GELU: a Φ(a) (Hendrycks & Gimpel 2016), PyTorch's default."""
    phi = cdf(a)
    return a * phi, lambda g: g * (phi + a * (INV_SQRT_2PI * np.exp(-0.5 * a * a)))


@op(
    "... -> ...",
    samples=lambda rng: [((rng.normal(size=(2, 4, 6)),), {"axis": axis}) for axis in (-1, 1)],
    real=True,
)
def glu(a: Array, *, axis: int) -> OpResult:
    """x σ(z), where x and z are the halves of a along ``axis`` (Dauphin et al. 2017)."""
    x, z = np.split(a, 2, axis=axis)
    s = either_fused(sigmoid, z)

    def vjp(g: Array) -> Any:
        return np.concatenate([g * s, g * x * s * (1 - s)], axis=axis)

    return x * s, vjp


def _dropped(rng: np.random.Generator) -> list[Sample]:
    x, planes = rng.normal(size=(3, 4, 2)), rng.random((3, 4, 1)) < 0.7
    return [((x, rng.random(x.shape) < 0.7), {"p": 0.3}), ((x, planes), {"p": 0.3})]


@op("..., ... -> ...", samples=_dropped, real=True)
def dropout(a: Array, keep: Array, *, p: float) -> OpResult:
    """Elements of a where ``keep`` (boolean) holds, over 1 - p; zeros elsewhere."""
    kept = np.asarray(1 / (1 - p) if p < 1 else 0.0, fractional(a.dtype))
    scale = aside(np.multiply, keep, kept)
    return a * scale, (lambda g: g * scale, None)


@op("..., ... -> ...", samples=_dropped, real=True)
def alpha_dropout(a: Array, keep: Array, *, p: float) -> OpResult:
    """SELU's floor where ``keep`` (boolean) does not hold, then mean 0 and variance 1 again.

    Source: Klambauer et al. 2017.
    """
    scale, shift, floor = (np.asarray(x, fractional(a.dtype)) for x in alpha_levels(p))
    slope = aside(np.multiply, keep, scale)
    return np.where(keep, a * scale + shift, floor), (lambda g: g * slope, None)


def alpha_levels(p: float) -> tuple[float, float, float]:
    """Return scale, shift and what is left of a dropped element, of p below 1."""
    scale = 1 / math.sqrt((1 - p) * (1 + p * SELU_FLOOR**2))
    shift = -scale * p * SELU_FLOOR
    return scale, shift, SELU_FLOOR * scale + shift


SELU_FLOOR = -1.7580993408473766
"""SELU's limit for -∞."""
