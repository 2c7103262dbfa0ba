"""Activations and the softmax family."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.op import Op
from distgrad.autograd.stream import generator
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap
from distgrad.ops.helpers import fractional


def _apply(op: Op, *inputs: TensorLike, **settings: Any) -> Tensor:
    result: Tensor = op(*(wrap(x) for x in inputs), **settings)
    return result


# -- linear in pieces -------------------------------------------------------------------------


def relu(x: TensorLike) -> Tensor:
    """max(x, 0)."""
    return _apply(ops.relu, x)


def relu6(x: TensorLike) -> Tensor:
    """x limited to [0, 6]."""
    return hardtanh(x, 0.0, 6.0)


def leaky_relu(x: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """x where it is positive, ``negative_slope`` · x elsewhere."""
    return _apply(ops.leaky_relu, x, negative_slope=negative_slope)


def prelu(x: TensorLike, weight: TensorLike) -> Tensor:
    """x where it is positive, ``weight`` · x elsewhere; one weight, or one per channel (axis 1).

    Errors: ShapeError for another number of weights.
    """
    x, weight = wrap(x), wrap(weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in {1, channels}:
        raise ShapeError(
            f"prelu takes one weight or one per channel ({channels} in {x.shape}); got weights of "
            f"shape {weight.shape}"
        )
    return _apply(ops.prelu, x, weight.reshape((-1, *(1,) * (x.ndim - 2)) if x.ndim else ()))


def rrelu(
    x: TensorLike, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False
) -> Tensor:
    """leaky_relu with slopes drawn from U(lower, upper) in training, their middle otherwise.

    The slopes depend on seed, step, shard and call, not on the rank (Xu et al. 2015).
    """
    if lower > upper:
        raise ShapeError(f"rrelu: lower is at most upper; got {lower} and {upper}")
    x = wrap(x)
    if not training:
        return leaky_relu(x, (lower + upper) / 2)
    slopes = lower + (upper - lower) * generator().random(x.shape, dtype=np.float32)
    return _apply(ops.prelu, x, np.asarray(slopes, fractional(x.dtype)))


def hardtanh(x: TensorLike, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x limited to [min_val, max_val]; no gradient flows at the bounds (unlike np.clip's)."""
    if min_val > max_val:
        raise ShapeError(f"hardtanh: min_val is at most max_val; got {min_val} and {max_val}")
    return _apply(ops.hardtanh, x, min_val=min_val, max_val=max_val)


def hardsigmoid(x: TensorLike) -> Tensor:
    """x / 6 + 1/2, limited to [0, 1]."""
    return _apply(ops.hardsigmoid, x)


def hardswish(x: TensorLike) -> Tensor:
    """x · hardsigmoid(x)."""
    return _apply(ops.hardswish, x)


def hardshrink(x: TensorLike, lambd: float = 0.5) -> Tensor:
    """x where |x| > ``lambd``, 0 elsewhere."""
    return _apply(ops.hardshrink, x, lambd=lambd)


def softshrink(x: TensorLike, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by ``lambd``, 0 where it is nearer than that."""
    if lambd < 0:
        raise ShapeError(f"softshrink: lambd is at least 0; got {lambd}")
    return _apply(ops.softshrink, x, lambd=lambd)


def threshold(x: TensorLike, threshold: float, value: float) -> Tensor:
    """x where it exceeds ``threshold``, ``value`` elsewhere."""
    return _apply(ops.threshold, x, threshold=threshold, value=value)


# -- smooth -----------------------------------------------------------------------------------


def sigmoid(x: TensorLike) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _apply(ops.sigmoid, x)


def logsigmoid(x: TensorLike) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return _apply(ops.logsigmoid, x)


def tanh(x: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    return _apply(ops.tanh, x)


def tanhshrink(x: TensorLike) -> Tensor:
    """x - tanh(x)."""
    return _apply(ops.tanhshrink, x)


def softsign(x: TensorLike) -> Tensor:
    """x / (1 + |x|)."""
    return _apply(ops.softsign, x)


def softplus(x: TensorLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(β x)) / β, x itself where β x exceeds ``threshold``."""
    return _apply(ops.softplus, x, beta=beta, threshold=threshold)


def gelu(x: TensorLike, approximate: str = "none") -> Tensor:
    """x Φ(x); ``approximate="tanh"`` is the faster form."""
    if approximate not in {"none", "tanh"}:
        raise ShapeError(f"gelu: approximate is 'none' or 'tanh'; got {approximate!r}")
    return _apply(ops.gelu_tanh if approximate == "tanh" else ops.gelu, x)


def silu(x: TensorLike) -> Tensor:
    """x · sigmoid(x), also called swish."""
    return _apply(ops.silu, x)


def mish(x: TensorLike) -> Tensor:
    """x · tanh(softplus(x))."""
    return _apply(ops.mish, x)


def elu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """x where it is positive, α (exp(x) - 1) elsewhere (Clevert et al. 2016)."""
    return _apply(ops.elu, x, alpha=alpha)


def selu(x: TensorLike) -> Tensor:
    """Scaled ELU, which keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    return _apply(ops.elu, x, alpha=1.6732632423543772848, scale=1.0507009873554804934)


def celu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """x where it is positive, α (exp(x / α) - 1) elsewhere (Barron 2017)."""
    if alpha == 0:
        raise ShapeError("celu divides by alpha; it cannot be 0")
    return _apply(ops.elu, x, alpha=alpha, rate=1 / alpha)


# -- over an axis -----------------------------------------------------------------------------


def glu(x: TensorLike, dim: int = -1) -> Tensor:
    """a · sigmoid(b), where a and b are the halves of x along axis ``dim`` (Dauphin et al. 2017).

    Errors: ShapeError if that axis cannot be halved.
    """
    x = wrap(x)
    if not -x.ndim <= dim < x.ndim or x.shape[dim] % 2:
        raise ShapeError(f"glu needs an axis {dim} of even length; got shape {x.shape}")
    a, b = np.split(x, 2, axis=dim)
    return _apply(ops.multiply, a, sigmoid(b))


def softmax(x: TensorLike, dim: int) -> Tensor:
    """exp(x) / Σ exp(x) over axis ``dim``."""
    return _apply(ops.softmax, x, axis=dim)


def softmin(x: TensorLike, dim: int) -> Tensor:
    """softmax(-x) over axis ``dim``."""
    return softmax(-wrap(x), dim)


def log_softmax(x: TensorLike, dim: int) -> Tensor:
    """x - log Σ exp(x) over axis ``dim``."""
    return _apply(ops.log_softmax, x, axis=dim)
