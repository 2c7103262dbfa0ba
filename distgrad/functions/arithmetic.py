"""Arithmetic of two operands, broadcast: sums, quotients, remainders, powers, angles.

Dtypes are promoted as by the operators of Tensors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from distgrad import kernels, ops
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.op import constant
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import DistgradError
from distgrad.functions.arguments import tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import (
    apply,
    arrays_of,
    check_a_tensor,
    check_real,
    check_whole_divisor,
    pair,
    plainly,
    reals,
    whole,
)
from distgrad.ops.helpers import data_of

IN_PLACE = [
    *("add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide"),
    *("floor_divide", "remainder", "fmod", "pow", "float_power", "gcd", "lcm", "ldexp"),
    *("copysign", "nextafter", "hypot", "atan2", "arctan2", "xlogy"),
]

__all__ = [
    "add",
    "arctan2",
    "atan2",
    "copysign",
    "div",
    "divide",
    "float_power",
    "floor_divide",
    "fmod",
    "frexp",
    "gcd",
    "hypot",
    "lcm",
    "ldexp",
    "logaddexp",
    "logaddexp2",
    "mul",
    "multiply",
    "nextafter",
    "pow",
    "remainder",
    "rsub",
    "sub",
    "subtract",
    "true_divide",
    "xlogy",
]


class Frexp(NamedTuple):
    """A number as ``mantissa * 2 ** exponent``, with a mantissa in ±[0.5, 1)."""

    mantissa: Tensor
    exponent: Tensor


@with_out
def add(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``."""
    a, b = pair(input, other)
    return apply(ops.add, a, _scaled("add", a, b, alpha))


@with_out
def sub(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """``input - alpha * other``. Errors: DistgradError for booleans."""
    a, b = pair(input, other)
    for x in (a, b):
        if isinstance(x, bool) or (isinstance(x, Tensor) and x.dtype.kind == "b"):
            raise DistgradError("subtraction of booleans; write x ^ y, or x & ~y")
    return apply(ops.subtract, a, _scaled("sub", a, b, alpha))


def rsub(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """``other - alpha * input``."""
    a, b = pair(input, other)
    return sub(b, a, alpha=alpha)


def _scaled(name: str, a: Any, b: Any, alpha: float) -> Any:
    """``alpha * b``, in the dtype of the result: 200 times 2 is no uint8."""
    if alpha == 1:
        return b
    dtype = np.result_type(*_kinds(a, b))
    if dtype.kind in "biu" and np.asarray(alpha).dtype.kind in "fc":
        raise DistgradError(f"{name}: alpha={alpha} for whole numbers; give a whole one")
    if dtype.kind == "b":
        return b if alpha else b ^ b  # as PyTorch: of booleans alpha is one
    return (b if not isinstance(b, Tensor) or b.dtype == dtype else b.astype(dtype)) * alpha


@with_out
def mul(input: TensorLike, other: TensorLike) -> Tensor:
    """``input * other``."""
    return apply(ops.multiply, *pair(input, other))


@with_out
def div(input: TensorLike, other: TensorLike, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``, rounded towards 0 for ``"trunc"``, down for ``"floor"``.

    Errors: DistgradError for another mode.
    """
    a, b = pair(input, other, real=rounding_mode is None)
    if rounding_mode is None:
        return apply(ops.divide, a, b)
    if rounding_mode in ("floor", "trunc"):
        check_whole_divisor("div", a, b)
    if rounding_mode == "floor":
        return apply(ops.floor_divide, a, b)
    if rounding_mode == "trunc":
        rounded = apply(ops.trunc, apply(ops.divide, a, b))
        if np.result_type(*_kinds(a, b)).kind in "fc":
            return rounded
        return plainly("div", _truncated, a, b)
    raise DistgradError(f"div: rounding_mode is None, 'trunc' or 'floor'; got {rounding_mode!r}")


def _truncated(x: Any, y: Any) -> Any:
    # Whole numbers above 2⁵³ have no float64: the remainder is exact.
    return (x - np.fmod(x, y)) // y


subtract, multiply, divide = sub, mul, div


@with_out
def true_divide(input: TensorLike, other: TensorLike) -> Tensor:
    """``input / other``."""
    return apply(ops.divide, *reals(input, other))


@with_out
def floor_divide(input: TensorLike, other: TensorLike) -> Tensor:
    """``input / other``, rounded down. Errors: DistgradError for whole numbers divided by 0."""
    return _divided("floor_divide", ops.floor_divide, input, other)


@with_out
def remainder(input: TensorLike, other: TensorLike) -> Tensor:
    """What is left of ``input / other`` rounded down: it has the sign of ``other``."""
    return _divided("remainder", ops.remainder, input, other)


@with_out
def fmod(input: TensorLike, other: TensorLike) -> Tensor:
    """What is left of ``input / other`` rounded towards 0: it has the sign of ``input``."""
    return _divided("fmod", ops.fmod, input, other)


def _divided(name: str, op: Any, input: TensorLike, other: TensorLike) -> Tensor:
    a, b = pair(input, other)
    check_whole_divisor(name, a, b)
    return apply(op, a, b)


@with_out
def pow(input: TensorLike, exponent: TensorLike) -> Tensor:
    """``input`` to the power of ``exponent``. Errors: DistgradError for whole 2 ** -1."""
    a, b = pair(input, exponent)
    kinds = _kinds(a, b)
    if np.result_type(*kinds).kind in "iu":
        _check_not_negative(b)
    if np.result_type(*kinds).kind == "b":
        a = tensor_of(a).astype(np.int64)
        return apply(ops.power, a, b).astype(bool)
    return apply(ops.power, a, b)


@apart
def _check_not_negative(exponent: Any) -> None:
    if np.any(np.asarray(data_of(exponent)) < 0):
        raise DistgradError("whole numbers to a negative power are none; use x.double()")


@with_out
def float_power(input: TensorLike, exponent: TensorLike) -> Tensor:
    """``input`` to the power of ``exponent``, in double precision."""
    a, b = (_double(x) for x in pair(input, exponent))
    return apply(ops.power, a, b)


def _double(x: Any) -> Tensor:
    given = tensor_of(x) if isinstance(x, Tensor) else Tensor(np.asarray(x))
    wanted = np.complex128 if given.dtype.kind == "c" else np.float64
    return given if given.dtype == wanted else given.astype(wanted)


@with_out
def logaddexp(input: TensorLike, other: TensorLike) -> Tensor:
    """``log(exp(input) + exp(other))``, without overflow."""
    check_real("logaddexp", input, other)
    return apply(ops.logaddexp, *reals(input, other))


@with_out
def logaddexp2(input: TensorLike, other: TensorLike) -> Tensor:
    """``log2(2 ** input + 2 ** other)``, without overflow."""
    check_real("logaddexp2", input, other)
    return apply(ops.logaddexp2, *reals(input, other))


@with_out
def hypot(input: TensorLike, other: TensorLike) -> Tensor:
    """``sqrt(input² + other²)``, without overflow."""
    check_real("hypot", input, other)
    return apply(ops.hypot, *reals(input, other))


@with_out
def atan2(input: TensorLike, other: TensorLike) -> Tensor:
    """The angle in (-π, π] of the point (other, input)."""
    check_real("atan2", input, other)
    return apply(ops.arctan2, *reals(input, other))


arctan2 = atan2


@with_out
def xlogy(input: TensorLike, other: TensorLike) -> Tensor:
    """``input * log(other)``, and 0 where ``input`` is 0."""
    check_a_tensor("xlogy", input, other)
    check_real("xlogy", input, other)
    return apply(ops.xlogy, *reals(input, other))


# -- the parts of a number ------------------------------------------------------------------------


@with_out
def copysign(input: TensorLike, other: TensorLike) -> Tensor:
    """The distance of ``input`` from 0, with the sign of ``other``."""
    check_real("copysign", input, other)
    return apply(ops.copysign, *reals(input, other))


@with_out
def nextafter(input: TensorLike, other: TensorLike) -> Tensor:
    """The number next to ``input`` in the direction of ``other``; it has no gradient."""
    check_real("nextafter", input, other)
    x, y = pair(input, other)
    a, b = constant(x, "nextafter", "input"), constant(y, "nextafter", "other")
    return plainly("nextafter", _next, a, b)


_MANY = 1 << 12  # fewer are computed sooner than numba is imported
_FEW = 1 << 9  # of both together, for which passes over bits cost more
_BITS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


def _next(a: Any, b: Any) -> Any:
    """``np.nextafter``, whose function of C is called for each number, by the numbers' bits."""
    whole = _BITS.get(getattr(a, "dtype", None))
    if whole is None or getattr(b, "dtype", None) != a.dtype or a.size + b.size < _FEW:
        return np.nextafter(a, b)
    if a.shape != b.shape:
        a, b = np.broadcast_arrays(a, b)
    if not a.ndim:
        return np.nextafter(a, b)
    twin = kernels.twin("nextafter") if a.size >= _MANY else None
    found = None if twin is None else twin(a, b)
    if found is not None:
        return found
    up, down, grows = b > a, b < a, a > 0
    np.equal(up, grows, out=grows)
    # Away from 0 the bits, read as a whole number, grow by one.
    y = np.asarray(grows.view(np.int8).astype(whole))
    y += y
    y -= 1
    y += a.view(whole)
    y = y.view(a.dtype)
    down |= up
    down &= a != 0
    if np.count_nonzero(down) < a.size:  # equal, NaN, or 0, beside which the other sign is
        others = ~down
        y[others] = np.nextafter(a[others], b[others])
    return y


@with_out
def ldexp(input: TensorLike, other: TensorLike) -> Tensor:
    """``input * 2 ** other``."""
    a, b = pair(input, other, real=True)
    power = apply(ops.power, 2.0, b) if isinstance(b, Tensor) else 2.0**b
    return apply(ops.multiply, a, power)


@with_out
def frexp(input: TensorLike) -> Frexp:
    """``input`` as a mantissa in ±[0.5, 1) and a power of 2: (mantissa, exponent)."""
    x = tensor_of(input)
    if x.dtype.kind != "f":
        raise DistgradError(f"frexp takes real numbers; got {x.dtype}")
    exponent, first, second = _powers_of_2(x)
    return Frexp(x * first * second, exponent)


@apart
@keeps_form
def _powers_of_2(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The exponents, and two factors that take them away: one of the smallest would overflow."""
    exponent = np.frexp(x.array)[1]
    half = -exponent // 2
    first, second = (np.ldexp(np.ones((), x.dtype), e) for e in (half, -exponent - half))
    return Tensor(exponent), Tensor(first), Tensor(second)


@with_out
def gcd(input: TensorLike, other: TensorLike) -> Tensor:
    """The greatest common divisor of whole numbers."""
    a, b = arrays_of(input, other)
    return plainly("gcd", np.gcd, whole(a, "gcd"), whole(b, "gcd"))


@with_out
def lcm(input: TensorLike, other: TensorLike) -> Tensor:
    """The least common multiple of whole numbers."""
    a, b = arrays_of(input, other)
    return plainly("lcm", np.lcm, whole(a, "lcm"), whole(b, "lcm"))


def _kinds(a: Any, b: Any) -> tuple[Any, Any]:
    return data_of(a), data_of(b)
