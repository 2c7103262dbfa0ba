"""Functions of each element, of one Tensor: powers, exponentials, angles, activations.

Whole numbers count as real ones of the default dtype, as in PyTorch, where a function is not one
of whole numbers too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import DTypeLike
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import cast, one_axis, real_numbers, tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import apply, real, real_alone
from distgrad.ops.helpers import data_of

IN_PLACE = [
    *("abs", "absolute", "neg", "negative", "square", "sqrt", "rsqrt", "reciprocal"),
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "arcsin", "arccos", "arctan", "sinc"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "arcsinh", "arccosh", "arctanh"),
    *("deg2rad", "rad2deg", "erf", "erfc", "sigmoid", "logit", "relu"),
]

__all__ = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "deg2rad",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "hardshrink",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_softmax",
    "logit",
    "neg",
    "negative",
    "positive",
    "prelu",
    "rad2deg",
    "reciprocal",
    "relu",
    "rsqrt",
    "sigmoid",
    "sin",
    "sinc",
    "sinh",
    "softmax",
    "sqrt",
    "square",
    "tan",
    "tanh",
]

Curve = Callable[..., Tensor]


def curve(
    name: str, function: Callable[[Any], Any], what: str, *, real_only: bool = False
) -> Curve:
    """Return PyTorch's function ``name`` of real or complex numbers, computed by an op."""

    def converted(input: TensorLike) -> Tensor:
        x = real(input)
        result: Tensor = function(real_numbers(x, name) if real_only else x)
        return result

    with_settings: Curve = with_out(converted)
    # An op is called the short way where there is nothing to convert: on small arrays it counts.
    call = getattr(function, "short", function)
    kinds = "f" if real_only else "fc"

    def of_each(input: TensorLike, *, out: Tensor | None = None) -> Tensor:
        if out is not None or type(input) is not Tensor or input.array.dtype.kind not in kinds:
            return with_settings(input, out=out)
        result: Tensor = call(input)
        return result

    of_each.__name__ = of_each.__qualname__ = name
    of_each.__module__ = __name__
    of_each.__doc__ = what
    return of_each


def _sinc(x: Tensor) -> Any:
    if x.dtype.kind != "c":
        return ops.sinc(x)
    zero = data_of(x) == 0
    u = x.masked_fill(zero, 1) * math.pi
    return apply(ops.divide, ops.sin(u), u).masked_fill(zero, 1)


exp = curve("exp", ops.exp, "e to the power of each element.")
exp2 = curve("exp2", ops.exp2, "2 to the power of each element.")
expm1 = curve("expm1", ops.expm1, "``exp(input) - 1``, exact for small elements.")
log = curve("log", ops.log, "The natural logarithm.")
log2 = curve("log2", ops.log2, "The logarithm to base 2.")
log10 = curve("log10", ops.log10, "The logarithm to base 10.")
log1p = curve("log1p", ops.log1p, "``log(1 + input)``, exact for small elements.")
sqrt = curve("sqrt", ops.sqrt, "The square root.")
rsqrt = curve("rsqrt", ops.rsqrt, "1 over the square root.")
reciprocal = curve("reciprocal", ops.reciprocal, "1 over each element.")
sin = curve("sin", ops.sin, "The sine of an angle in radians.")
cos = curve("cos", ops.cos, "The cosine of an angle in radians.")
tan = curve("tan", ops.tan, "The tangent of an angle in radians.")
asin = curve("asin", ops.arcsin, "The angle in [-π/2, π/2] whose sine it is.")
acos = curve("acos", ops.arccos, "The angle in [0, π] whose cosine it is.")
atan = curve("atan", ops.arctan, "The angle in (-π/2, π/2) whose tangent it is.")
sinh = curve("sinh", ops.sinh, "The hyperbolic sine.")
cosh = curve("cosh", ops.cosh, "The hyperbolic cosine.")
tanh = curve("tanh", ops.tanh, "The hyperbolic tangent.")
asinh = curve("asinh", ops.arcsinh, "The inverse of the hyperbolic sine.")
acosh = curve("acosh", ops.arccosh, "The inverse of the hyperbolic cosine, for elements ≥ 1.")
atanh = curve("atanh", ops.arctanh, "The inverse of the hyperbolic tangent, in (-1, 1).")
arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh
sinc = curve("sinc", _sinc, "``sin(π x) / (π x)``, and 1 at 0.")
deg2rad = curve("deg2rad", ops.deg2rad, "Degrees in radians.", real_only=True)
rad2deg = curve("rad2deg", ops.rad2deg, "Radians in degrees.", real_only=True)
erf = curve("erf", ops.erf, "The error function.", real_only=True)
erfc = curve("erfc", ops.erfc, "``1 - erf(input)``, exact in the tail.", real_only=True)
sigmoid = curve("sigmoid", ops.sigmoid, "``1 / (1 + exp(-input))``, without overflow.")


@with_out
def abs(input: TensorLike) -> Tensor:
    """The distance from 0; the gradient there is 0."""
    given = tensor_of(input)
    return given if given.dtype.kind == "b" else apply(ops.absolute, given)


@with_out
def neg(input: TensorLike) -> Tensor:
    """``-input``."""
    given = tensor_of(input)
    if given.dtype.kind == "b":
        raise DistgradError("neg of booleans; write ~x or dg.logical_not(x)")
    return apply(ops.negative, given)


@with_out
def square(input: TensorLike) -> Tensor:
    """``input * input``; of booleans whole numbers."""
    given = tensor_of(input)
    return apply(ops.square, given.astype(np.int64) if given.dtype.kind == "b" else given)


absolute, negative = abs, neg


def positive(input: TensorLike) -> Tensor:
    """``input`` itself. Errors: DistgradError for booleans."""
    given = tensor_of(input)
    if given.dtype.kind == "b":
        raise DistgradError("positive of booleans has no meaning; leave it out")
    return given


@with_out
def logit(input: TensorLike, eps: float | None = None) -> Tensor:
    """``log(x / (1 - x))``, of x limited to [eps, 1 - eps] first if ``eps`` is given."""
    x = real_alone(input, "logit")
    return apply(ops.logit, x) if eps is None else apply(ops.logit, x, low=eps, high=1 - eps)


# -- activations ----------------------------------------------------------------------------------


def relu(input: TensorLike) -> Tensor:
    """``max(input, 0)``."""
    given = tensor_of(input)
    if given.dtype.kind == "b":
        raise DistgradError("relu of booleans has no meaning; leave it out")
    if given.dtype.kind in "iu":  # whole numbers stay whole
        return Tensor(np.maximum(given.array, np.zeros((), given.dtype)))
    return apply(ops.relu, real_numbers(given, "relu"))


def prelu(input: TensorLike, weight: TensorLike) -> Tensor:
    """``input`` where it is positive, ``weight * input`` elsewhere; a weight for each channel.

    Channels are axis 1. Errors: ShapeError if there is another number of weights.
    """
    x, w = tensor_of(input), tensor_of(weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    if w.size not in (1, channels) or w.ndim > 1:
        raise ShapeError(f"prelu: {w.shape} weights for {channels} channels; give one, or each")
    if w.ndim:
        w = w.reshape(-1) if x.ndim < 2 else w.reshape(-1, *(1,) * (x.ndim - 2))
    if x.ndim == 0:
        w = w.reshape(())
    return apply(ops.prelu, x, w)


@with_out
def hardshrink(input: TensorLike, lambd: float = 0.5) -> Tensor:
    """``input`` where its distance from 0 exceeds ``lambd``, 0 elsewhere."""
    return apply(ops.hardshrink, tensor_of(input), lambd=lambd)


@with_out
def softmax(input: TensorLike, dim: int, dtype: DTypeLike | None = None) -> Tensor:
    """``exp(input) / Σ exp(input)`` along ``dim``, without overflow."""
    return _along(ops.softmax, input, dim, dtype)


@with_out
def log_softmax(input: TensorLike, dim: int, dtype: DTypeLike | None = None) -> Tensor:
    """``input - log Σ exp(input)`` along ``dim``, without overflow."""
    return _along(ops.log_softmax, input, dim, dtype)


def _along(declared: Any, input: TensorLike, dim: int, dtype: DTypeLike | None) -> Tensor:
    x = real_numbers(cast(tensor_of(input), dtype), declared.name)
    if x.ndim == 0:
        return _along(declared, x.reshape(1), dim, None).reshape(())
    return apply(declared, x, axis=one_axis(dim, x.ndim, declared.name))
