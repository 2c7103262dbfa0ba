"""Which dtype comes out: what the operators promote by (autograd/promotion.py), for functions.

Functions of real numbers (``exp``, ``sin``, ``var``) take whole numbers and booleans for ones of
the default dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.methods.calls import call
from distgrad.autograd.promotion import meeting, operands, promote_types
from distgrad.autograd.tensor import Tensor, TensorLike, output
from distgrad.autograd.types import DTypeLike
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import cast, real_numbers, tensor_of
from distgrad.ops.helpers import data_of

__all__ = ["can_cast", "promote_types", "result_type"]


def result_type(tensor: TensorLike, other: TensorLike) -> np.dtype[Any]:
    """Return the dtype of ``tensor + other``."""
    if not any(isinstance(x, Tensor) for x in (tensor, other)):
        return Tensor([tensor, other]).dtype
    kinds = [x.array if isinstance(x, Tensor) else x for x in (tensor, other)]
    return meeting(tensor, other) or np.result_type(*kinds)


def can_cast(from_: DTypeLike, to: DTypeLike) -> bool:
    """Whether numbers may be converted: not from complex to real, nor real to whole, nor to bool.

    Precision and range do not count. Source: torch.can_cast.
    """
    a, b = np.dtype(from_).kind, np.dtype(to).kind
    rank = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    return rank[a] <= rank[b]


def real(x: TensorLike) -> Tensor:
    """Return ``x`` as a Tensor of real or complex numbers: whole ones in the default dtype."""
    if type(x) is Tensor and x.array.dtype.kind in "fc":  # the short way
        return x
    given = tensor_of(x)
    return given if given.dtype.kind in "fc" else given.astype(get_default_dtype())


def real_alone(x: TensorLike, name: str) -> Tensor:
    """``real``. Errors: DistgradError for complex numbers, which ``name`` has no value for."""
    return real_numbers(real(x), name)


def reals(a: TensorLike, b: TensorLike) -> tuple[Any, Any]:
    """Return both as ``pair`` does, whole numbers taken for real ones."""
    return pair(a, b, real=True)


def pair(a: TensorLike, b: TensorLike, real: bool = False) -> tuple[Any, Any]:
    """Return two operands of one dtype, at least one a Tensor; a Python number stays one.

    ``real`` takes whole numbers for real ones of the default dtype.
    """
    if not isinstance(a, Tensor) and (np.ndim(a) or not isinstance(b, Tensor)):
        a = Tensor(a)
    if not isinstance(b, Tensor) and np.ndim(b):
        b = Tensor(b)
    return operands(a, b, real)


def arrays_of(a: TensorLike, b: TensorLike) -> tuple[Any, Any]:
    """Return the arrays of ``pair``; a Python number stays one."""
    if type(a) is Tensor and type(b) is Tensor and a.array.dtype is b.array.dtype:
        return a.array, b.array  # the short way
    one, two = pair(a, b)
    return data_of(one), data_of(two)


def alike(tensors: Sequence[TensorLike]) -> list[Tensor]:
    """Return all as Tensors of the dtype that they share."""
    given = [tensor_of(x) for x in tensors]
    if len({x.dtype for x in given}) < 2:
        return given
    dtype = functools.reduce(promote_types, [x.dtype for x in given])
    return [cast(x, dtype) for x in given]


def check_real(name: str, *given: Any) -> None:
    """Raise DistgradError for complex numbers, which ``name`` has no value for."""
    for x in given:
        dtype = x.array.dtype if type(x) is Tensor else getattr(x, "dtype", None)
        if isinstance(x, complex) if dtype is None else dtype.kind == "c":
            raise DistgradError(f"{name} takes real numbers: complex ones have no order or value")


def check_whole_divisor(name: str, a: Any, b: Any) -> None:
    """Raise DistgradError for whole numbers divided by 0, as PyTorch does."""
    if np.result_type(data_of(a), data_of(b)).kind in "biu":
        _check_no_zero(name, b)


@apart
def _check_no_zero(name: str, b: Any) -> None:
    if not np.all(data_of(b)):
        raise DistgradError(f"{name}: whole numbers divided by 0; use x.double() for infinities")


def check_a_tensor(name: str, a: Any, b: Any) -> None:
    """Raise TypeError for two of Python's numbers, as PyTorch's functions of two operands do."""
    if isinstance(a, int | float) and isinstance(b, int | float):
        raise TypeError(f"{name}: one of the two is a Tensor; got the numbers {a} and {b}")


def whole(x: Any, name: str) -> Any:
    """Return ``x`` if it holds whole numbers or booleans. Errors: DistgradError."""
    dtype = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
    if dtype.kind not in "biu":
        raise DistgradError(f"{name} takes whole numbers or booleans; got {tensor_of(x).dtype}")
    return x


@apart
@keeps_form
def plainly(name: str, function: Callable[[Any, Any], Any], a: Any, b: Any) -> Tensor:
    """Return a function of two arrays that has no gradient. Errors: ShapeError."""
    return of_arrays(name, function, data_of(a), data_of(b))


def of_arrays(name: str, function: Callable[[Any, Any], Any], a: Any, b: Any) -> Tensor:
    """``plainly`` for what stands ``apart`` itself, of two arrays."""
    try:
        return output(function(a, b), None, 0)
    except ValueError as error:
        raise ShapeError(
            f"{name}: the shapes {np.shape(a)} and {np.shape(b)} do not broadcast"
        ) from error


# What is composed of ops, or an op itself, is called as methods call it: not by way of NumPy.
apply: Callable[..., Tensor] = call
