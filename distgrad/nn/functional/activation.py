"""Activations and the softmax family."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.op import Op
from distgrad.autograd.stream import uniform
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike, Shape
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import stand_for, wrap
from distgrad.ops.helpers import fractional


def _apply(op: Op, *inputs: TensorLike, **settings: Any) -> Tensor:
    result: Tensor = op(*[x if isinstance(x, Tensor) else Tensor(x) for x in inputs], **settings)
    return result


# -- linear in pieces -------------------------------------------------------------------------


def relu(input: TensorLike, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    y = _apply(ops.relu, input)
    return stand_for("relu_", input, y) if inplace else y


def relu6(input: TensorLike, inplace: bool = False) -> Tensor:
    """x limited to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


def leaky_relu(input: TensorLike, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is positive, ``negative_slope`` · x elsewhere."""
    y = _apply(ops.leaky_relu, input, negative_slope=negative_slope)
    return stand_for("leaky_relu_", input, y) if inplace else y


def prelu(input: TensorLike, weight: TensorLike) -> Tensor:
    """x where it is positive, ``weight`` · x elsewhere; one weight, or one per channel (axis 1).

    Errors: ShapeError for another number of weights.
    """
    input, weight = wrap(input), wrap(weight)
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in {1, channels}:
        raise ShapeError(
            f"prelu takes one weight or one per channel ({channels} in {input.shape}); got weights "
            f"of shape {weight.shape}"
        )
    if weight.size > 1 or not input.ndim:
        weight = weight.reshape((-1, *(1,) * (input.ndim - 2)) if input.ndim else ())
    return _apply(ops.prelu, input, weight)


def rrelu(
    input: TensorLike,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """leaky_relu with slopes drawn from U(lower, upper) in training, their middle otherwise.

    The slopes depend on seed, step, shard and call, not on the rank (Xu et al. 2015).
    """
    if lower > upper:
        raise ShapeError(f"rrelu: lower is at most upper; got {lower} and {upper}")
    input = wrap(input)
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    y = _apply(ops.prelu, input, _slopes(input.shape, lower, upper, fractional(input.dtype)))
    return stand_for("rrelu_", input, y) if inplace else y


@apart
@keeps_form
def _slopes(shape: Shape, lower: float, upper: float, dtype: DTypeLike) -> Array:
    drawn = uniform(shape)
    return np.asarray(lower + (upper - lower) * drawn, dtype)


def hardtanh(
    input: TensorLike, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x limited to [min_val, max_val]; no gradient flows at the bounds (unlike np.clip's)."""
    if min_val > max_val:
        raise ShapeError(f"hardtanh: min_val is at most max_val; got {min_val} and {max_val}")
    y = _apply(ops.hardtanh, input, min_val=min_val, max_val=max_val)
    return stand_for("hardtanh_", input, y) if inplace else y


def hardsigmoid(input: TensorLike, inplace: bool = False) -> Tensor:
    """x / 6 + 1/2, limited to [0, 1]."""
    y = _apply(ops.hardsigmoid, input)
    return stand_for("hardsigmoid_", input, y) if inplace else y


def hardswish(input: TensorLike, inplace: bool = False) -> Tensor:
    """x · hardsigmoid(x)."""
    y = _apply(ops.hardswish, input)
    return stand_for("hardswish_", input, y) if inplace else y


def hardshrink(input: TensorLike, lambd: float = 0.5) -> Tensor:
    """x where |x| > ``lambd``, 0 elsewhere."""
    return _apply(ops.hardshrink, input, lambd=lambd)


def softshrink(input: TensorLike, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by ``lambd``, 0 where it is nearer than that."""
    if lambd < 0:
        raise ShapeError(f"softshrink: lambd is at least 0; got {lambd}")
    return _apply(ops.softshrink, input, lambd=lambd)


def threshold(input: TensorLike, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where it exceeds ``threshold``, ``value`` elsewhere."""
    y = _apply(ops.threshold, input, threshold=threshold, value=value)
    return stand_for("threshold_", input, y) if inplace else y


# -- smooth -----------------------------------------------------------------------------------


def sigmoid(input: TensorLike) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _apply(ops.sigmoid, input)


def logsigmoid(input: TensorLike) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return _apply(ops.logsigmoid, input)


def tanh(input: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    return _apply(ops.tanh, input)


def tanhshrink(input: TensorLike) -> Tensor:
    """x - tanh(x)."""
    return _apply(ops.tanhshrink, input)


def softsign(input: TensorLike) -> Tensor:
    """x / (1 + |x|)."""
    return _apply(ops.softsign, input)


def softplus(input: TensorLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(β x)) / β, x itself where β x exceeds ``threshold``."""
    return _apply(ops.softplus, input, beta=beta, threshold=threshold)


def gelu(input: TensorLike, approximate: str = "none") -> Tensor:
    """x Φ(x); ``approximate="tanh"`` is the faster form."""
    if approximate not in {"none", "tanh"}:
        raise ShapeError(f"gelu: approximate is 'none' or 'tanh'; got {approximate!r}")
    return _apply(ops.gelu_tanh if approximate == "tanh" else ops.gelu, input)


def silu(input: TensorLike, inplace: bool = False) -> Tensor:
    """x · sigmoid(x), also called swish."""
    y = _apply(ops.silu, input)
    return stand_for("silu_", input, y) if inplace else y


def mish(input: TensorLike, inplace: bool = False) -> Tensor:
    """x · tanh(softplus(x))."""
    y = _apply(ops.mish, input)
    return stand_for("mish_", input, y) if inplace else y


def elu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, α (exp(x) - 1) elsewhere (Clevert et al. 2016)."""
    y = _apply(ops.elu, input, alpha=alpha)
    return stand_for("elu_", input, y) if inplace else y


def selu(input: TensorLike, inplace: bool = False) -> Tensor:
    """Scaled ELU, which keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    y = _apply(ops.elu, input, alpha=1.6732632423543772848, scale=1.0507009873554804934)
    return stand_for("selu_", input, y) if inplace else y


def celu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, α (exp(x / α) - 1) elsewhere (Barron 2017)."""
    if alpha == 0:
        raise ShapeError("celu divides by alpha; it cannot be 0")
    y = _apply(ops.elu, input, alpha=alpha, rate=1 / alpha)
    return stand_for("celu_", input, y) if inplace else y


# -- over an axis -----------------------------------------------------------------------------


def glu(input: TensorLike, dim: int = -1) -> Tensor:
    """a · sigmoid(b), where a and b are the halves of x along axis ``dim`` (Dauphin et al. 2017).

    Errors: ShapeError if that axis cannot be halved.
    """
    input = wrap(input)
    if not -input.ndim <= dim < input.ndim or input.shape[dim] % 2:
        raise ShapeError(f"glu needs an axis {dim} of even length; got shape {input.shape}")
    return _apply(ops.glu, input, axis=dim)


def softmax(
    input: TensorLike,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """exp(x) / Σ exp(x) over axis ``dim``, of ``x.astype(dtype)`` if that is given.

    Errors: ShapeError without ``dim``, and for whole numbers without ``dtype``.
    """
    result: Tensor = ops.softmax(_fractional("softmax", input, dim, dtype), axis=dim)
    return result


def softmin(
    input: TensorLike,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """softmax(-x) over axis ``dim``. Errors: as ``softmax``."""
    result: Tensor = ops.softmax(-_fractional("softmin", input, dim, dtype), axis=dim)
    return result


def log_softmax(
    input: TensorLike,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """x - log Σ exp(x) over axis ``dim``. Errors: as ``softmax``."""
    result: Tensor = ops.log_softmax(_fractional("log_softmax", input, dim, dtype), axis=dim)
    return result


def _fractional(name: str, input: TensorLike, dim: int | None, dtype: DTypeLike | None) -> Tensor:
    x = wrap(input)
    if dim is None:
        # PyTorch guesses 0 or 1 by the number of axes, with a warning.
        raise ShapeError(f"{name} needs dim, the axis that sums up to 1: write dim=-1 for the last")
    if dtype is not None:
        x = x if x.dtype == np.dtype(dtype) else x.astype(dtype)
    elif x.dtype.kind not in "fc":
        raise ShapeError(
            f"{name} takes floating-point numbers; got {x.dtype}: pass dtype=np.float32, or "
            f"convert it"
        )
    return x


# -- in place ---------------------------------------------------------------------------------


def relu_(input: TensorLike) -> Tensor:
    """``relu``; ``input`` stands for the result from here on."""
    return relu(input, inplace=True)


def leaky_relu_(input: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """``leaky_relu``; ``input`` stands for the result from here on."""
    return leaky_relu(input, negative_slope, inplace=True)


def rrelu_(
    input: TensorLike, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False
) -> Tensor:
    """``rrelu``; ``input`` stands for the result from here on."""
    return rrelu(input, lower, upper, training, inplace=True)


def hardtanh_(input: TensorLike, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """``hardtanh``; ``input`` stands for the result from here on."""
    return hardtanh(input, min_val, max_val, inplace=True)


def threshold_(input: TensorLike, threshold: float, value: float) -> Tensor:
    """``threshold``; ``input`` stands for the result from here on."""
    y = _apply(ops.threshold, input, threshold=threshold, value=value)
    return stand_for("threshold_", input, y)


def elu_(input: TensorLike, alpha: float = 1.0) -> Tensor:
    """``elu``; ``input`` stands for the result from here on."""
    return elu(input, alpha, inplace=True)


def selu_(input: TensorLike) -> Tensor:
    """``selu``; ``input`` stands for the result from here on."""
    return selu(input, inplace=True)


def celu_(input: TensorLike, alpha: float = 1.0) -> Tensor:
    """``celu``; ``input`` stands for the result from here on."""
    return celu(input, alpha, inplace=True)
