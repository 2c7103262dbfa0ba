"""Rounding, signs, limits: functions whose value, or gradient, is constant piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike, output
from distgrad.autograd.types import Array
from distgrad.errors import DistgradError
from distgrad.functions.arguments import real_numbers, tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import apply, pair, plainly
from distgrad.ops.helpers import ZERO

IN_PLACE = [
    *("ceil", "floor", "trunc", "fix", "frac", "round", "sign", "sgn", "heaviside"),
    *("clamp", "clamp_min", "clamp_max", "clip", "nan_to_num"),
]

__all__ = [
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "fix",
    "floor",
    "frac",
    "heaviside",
    "nan_to_num",
    "round",
    "sgn",
    "sign",
    "signbit",
    "trunc",
]


def _rounding(name: str, function: Callable[[Any], Any], what: str) -> Callable[..., Tensor]:
    def rounding(input: TensorLike) -> Tensor:
        x = tensor_of(input)
        real_numbers(x, name)
        return apply(function, x) if x.dtype.kind == "f" else x.clone()

    rounding.__name__ = rounding.__qualname__ = name
    rounding.__module__ = __name__
    rounding.__doc__ = f"{what}; the gradient is 0."
    return with_out(rounding)


ceil = _rounding("ceil", ops.ceil, "The smallest whole number ≥ each element")
floor = _rounding("floor", ops.floor, "The largest whole number ≤ each element")
trunc = _rounding("trunc", ops.trunc, "Each element without its fraction")
fix = trunc


@with_out
def round(input: TensorLike, *, decimals: int = 0) -> Tensor:
    """Rounded to ``decimals`` decimals, halves to the even one; the gradient is 0."""
    x = tensor_of(input)
    real_numbers(x, "round")
    if x.dtype.kind != "f" and decimals:
        raise DistgradError("round: whole numbers have no decimals; leave decimals out")
    return apply(ops.round, x, decimals=decimals) if x.dtype.kind == "f" else x.clone()


@with_out
def frac(input: TensorLike) -> Tensor:
    """``input - trunc(input)``: the fraction, with the sign of the element."""
    x = tensor_of(input)
    if x.dtype.kind != "f":
        raise DistgradError(f"frac takes real numbers; got {x.dtype}")
    return apply(ops.frac, x)


@with_out
def sign(input: TensorLike) -> Tensor:
    """-1, 0 or 1; the gradient is 0."""
    x = tensor_of(input)
    real_numbers(x, "sign")
    return x.clone() if x.dtype.kind == "b" else apply(ops.sign, x)


@with_out
def sgn(input: TensorLike) -> Tensor:
    """-1, 0 or 1 for real numbers, ``z / |z|`` (0 at 0) for complex ones."""
    x = tensor_of(input)
    if x.dtype.kind != "c":
        return sign(x)
    size = apply(ops.absolute, x)
    return apply(ops.divide, x, size.masked_fill(size == 0, 1))


@with_out
def signbit(input: TensorLike) -> Tensor:
    """Whether the sign is negative; -0.0's is."""
    x = tensor_of(input)
    real_numbers(x, "signbit")
    return _negative(x)


@apart
@keeps_form
def _negative(x: Tensor) -> Tensor:
    return output(np.signbit(x.array) if x.dtype.kind == "f" else x.array < 0, None, 0)


@with_out
def heaviside(input: TensorLike, values: TensorLike) -> Tensor:
    """0 for negative elements and NaN, 1 for positive ones, ``values`` at 0; no gradient."""
    a, b = map(tensor_of, pair(input, values))
    one, other = a.array.dtype, b.array.dtype
    if one != other or one.kind == "c":
        raise DistgradError(f"heaviside takes two Tensors of one real dtype; got {one}, {other}")
    return plainly("heaviside", _step, a, b)


def _step(a: Array, b: Array) -> Array:
    zero = ZERO[a.dtype]
    found: Array = np.where(a == zero, b, a > zero).astype(b.dtype, copy=False)
    return found


@with_out
def clamp(
    input: TensorLike, min: TensorLike | None = None, max: TensorLike | None = None
) -> Tensor:
    """Limited to [min, max], numbers or Tensors; None for no bound.

    Errors: DistgradError without a bound.
    """
    if min is None and max is None:
        raise DistgradError("clamp: give min, max, or both")
    x = tensor_of(input)
    real_numbers(x, "clamp")
    bounds = [b for b in (min, max) if b is not None and type(b) not in (int, float)]
    if bounds or x.array.dtype.kind != "f":
        for bound in (min, max):  # a real bound of whole numbers makes real ones of them
            if bound is not None:
                x, _ = pair(x, bound)
        min, max = (None if b is None else pair(x, b)[1] for b in (min, max))
    return apply(ops.clamp, x, min, max)


@with_out
def clamp_min(input: TensorLike, min: TensorLike) -> Tensor:
    """Not less than ``min``."""
    return clamp(input, min)


@with_out
def clamp_max(input: TensorLike, max: TensorLike) -> Tensor:
    """Not more than ``max``."""
    return clamp(input, None, max)


clip = clamp


@with_out
def nan_to_num(
    input: TensorLike,
    nan: float | None = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """``nan`` for NaN, ``posinf`` and ``neginf`` for infinities (the dtype's extremes if None)."""
    x = tensor_of(input)
    if x.dtype.kind in "biu":
        return x.clone()
    return apply(ops.nan_to_num, x, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)
