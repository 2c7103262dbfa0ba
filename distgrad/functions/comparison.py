"""Comparisons: booleans, without a gradient; the larger and smaller of two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike, output
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import apply, arrays_of, check_real, of_arrays, pair
from distgrad.ops.helpers import InDtype, data_of

IN_PLACE = [
    *("eq", "ne", "not_equal", "lt", "less", "le", "less_equal"),
    *("gt", "greater", "ge", "greater_equal"),
]

__all__ = [
    "allclose",
    "eq",
    "equal",
    "fmax",
    "fmin",
    "ge",
    "greater",
    "greater_equal",
    "gt",
    "is_nonzero",
    "is_same_size",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "le",
    "less",
    "less_equal",
    "lt",
    "maximum",
    "minimum",
    "ne",
    "not_equal",
]


def _comparison(name: str, ufunc: np.ufunc, sign: str) -> Callable[..., Tensor]:
    ordered = sign not in ("==", "!=")

    def comparison(input: TensorLike, other: TensorLike) -> Tensor:
        a, b = arrays_of(input, other)
        if ordered:
            check_real(name, a, b)
        return of_arrays(name, ufunc, a, b)

    comparison.__name__ = comparison.__qualname__ = name
    comparison.__module__ = __name__
    comparison.__doc__ = f"``input {sign} other``: booleans."
    comparison.ufunc = ufunc  # type: ignore[attr-defined]  # for who records it
    return with_out(apart(keeps_form(comparison)))


eq = _comparison("eq", np.equal, "==")
ne = not_equal = _comparison("ne", np.not_equal, "!=")
lt = less = _comparison("lt", np.less, "<")
le = less_equal = _comparison("le", np.less_equal, "<=")
gt = greater = _comparison("gt", np.greater, ">")
ge = greater_equal = _comparison("ge", np.greater_equal, ">=")


def equal(input: TensorLike, other: TensorLike) -> bool:
    """Whether both have one shape and equal elements."""
    a, b = tensor_of(input).array, tensor_of(other).array
    return a.shape == b.shape and bool(np.count_nonzero(a == b) == a.size)


@apart
@keeps_form
def isclose(
    input: TensorLike,
    other: TensorLike,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> Tensor:
    """``|input - other| <= atol + rtol |other|``: booleans. Errors: DistgradError below 0."""
    if rtol < 0 or atol < 0:
        raise DistgradError(f"isclose: rtol and atol are ≥ 0; got {rtol}, {atol}")
    a, b = (tensor_of(x).array for x in (input, other))
    if a.dtype != b.dtype:
        raise DistgradError(f"isclose takes Tensors of one dtype; got {a.dtype}, {b.dtype}")
    try:
        return Tensor(np.asarray(np.isclose(a, b, rtol, atol, equal_nan)))
    except ValueError as error:
        raise ShapeError(f"isclose: the shapes {a.shape} and {b.shape} do not broadcast") from error


def allclose(
    input: TensorLike,
    other: TensorLike,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> bool:
    """Whether ``isclose`` holds for all elements."""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


def is_nonzero(input: TensorLike) -> bool:
    """Whether the only element is not 0. Errors: DistgradError for another number of them."""
    x = tensor_of(input).array
    if x.size != 1:
        raise DistgradError(f"is_nonzero takes one element; got shape {x.shape}: any(), or all()?")
    return bool(x.reshape(()) != 0)


def is_same_size(input: TensorLike, other: TensorLike) -> bool:
    """Whether both have one shape."""
    return tensor_of(input).shape == tensor_of(other).shape


# -- what the elements are ------------------------------------------------------------------------


@apart
@keeps_form
def isnan(input: TensorLike) -> Tensor:
    """Whether each element is NaN."""
    return output(np.isnan(tensor_of(input).array), None, 0)


@apart
@keeps_form
def isinf(input: TensorLike) -> Tensor:
    """Whether each element is ∞ or -∞."""
    return output(np.isinf(tensor_of(input).array), None, 0)


@apart
@keeps_form
def isfinite(input: TensorLike) -> Tensor:
    """Whether each element is neither infinite nor NaN."""
    return output(np.isfinite(tensor_of(input).array), None, 0)


@with_out
@apart
@keeps_form
def isposinf(input: TensorLike) -> Tensor:
    """Whether each element is ∞."""
    x = tensor_of(input).array
    check_real("isposinf", x)
    return output(x == _INFINITY[x.dtype], None, 0)


@with_out
@apart
@keeps_form
def isneginf(input: TensorLike) -> Tensor:
    """Whether each element is -∞."""
    x = tensor_of(input).array
    check_real("isneginf", x)
    return output(x == _MINUS_INFINITY[x.dtype], None, 0)


@apart
@keeps_form
def isreal(input: TensorLike) -> Tensor:
    """Whether each element has no imaginary part."""
    x = tensor_of(input).array
    return output(x.imag == 0 if x.dtype.kind == "c" else np.ones(x.shape, np.bool_), None, 0)


_INFINITY, _MINUS_INFINITY = InDtype(np.inf), InDtype(-np.inf)


# -- the larger and the smaller -------------------------------------------------------------------


def _choice(name: str, op: Any, what: str) -> Callable[..., Tensor]:
    def choice(input: TensorLike, other: TensorLike) -> Tensor:
        a, b = pair(input, other)
        check_real(name, data_of(a), data_of(b))
        return apply(op, a, b)

    choice.__name__ = choice.__qualname__ = name
    choice.__module__ = __name__
    choice.__doc__ = what
    return with_out(choice)


maximum = _choice("maximum", ops.maximum, "The larger of two; NaN where one is NaN.")
minimum = _choice("minimum", ops.minimum, "The smaller of two; NaN where one is NaN.")
fmax = _choice("fmax", ops.fmax, "The larger of two; the other one where one is NaN.")
fmin = _choice("fmin", ops.fmin, "The smaller of two; the other one where one is NaN.")
