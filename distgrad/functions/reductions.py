"""Reductions over axes: sums, means, spreads, norms, extremes, and where these are.

``dim`` is one axis, several, or None for all; ``keepdim`` leaves them with length 1. Axes and
results are PyTorch's: ``max(x, 1)`` is (values, indices), ``var`` divides by n - 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.methods import ValuesAndIndices
from distgrad.autograd.tensor import Tensor, TensorLike, output
from distgrad.autograd.types import DTypeLike, Ints, Shape
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import cast, one_axis, real_numbers, tensor_of
from distgrad.functions.comparison import maximum, minimum
from distgrad.functions.out import with_out
from distgrad.functions.promotion import apply, real
from distgrad.ops.shape import axis_numbers

__all__ = [
    "all",
    "amax",
    "amin",
    "aminmax",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "logsumexp",
    "max",
    "mean",
    "min",
    "nanmean",
    "nansum",
    "norm",
    "prod",
    "std",
    "std_mean",
    "sum",
    "var",
    "var_mean",
]


class MinMax(NamedTuple):
    """The smallest and largest elements, as PyTorch's ``aminmax``."""

    min: Tensor
    max: Tensor


@with_out
def sum(
    input: TensorLike,
    dim: Ints | None = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """The sum over ``dim``; whole numbers and booleans add up as int64."""
    x = _counting(input, dtype)
    return cast(apply(ops.sum, x, axis=axes(x, dim, "sum"), keepdims=keepdim), dtype)


@with_out
def nansum(
    input: TensorLike,
    dim: Ints | None = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """The sum of what is not NaN over ``dim``."""
    x = _counting(input, dtype)
    if x.dtype.kind == "c":
        raise DistgradError("nansum takes real numbers; take that of the parts")
    return cast(apply(ops.nansum, x, axis=axes(x, dim, "nansum"), keepdims=keepdim), dtype)


@with_out
def mean(
    input: TensorLike,
    dim: Ints | None = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """The mean over ``dim``. Errors: DistgradError for whole numbers, as in PyTorch."""
    x = _fractions("mean", input, dtype)
    return apply(ops.mean, x, axis=axes(x, dim, "mean"), keepdims=keepdim)


@with_out
def nanmean(
    input: TensorLike,
    dim: Ints | None = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """The mean of what is not NaN over ``dim``. Errors: DistgradError for whole numbers."""
    x = _fractions("nanmean", input, dtype)
    return apply(ops.nanmean, x, axis=axes(x, dim, "nanmean"), keepdims=keepdim)


@with_out
def prod(
    input: TensorLike,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """The product over one axis, or over all."""
    x = _counting(input, dtype)
    return cast(apply(ops.prod, x, axis=axes(x, dim, "prod"), keepdims=keepdim), dtype)


def _counting(input: TensorLike, dtype: DTypeLike | None) -> Tensor:
    x = tensor_of(input)
    if dtype is None and x.dtype.kind in "biu":
        dtype = np.int64
    return cast(x, dtype)


def _fractions(name: str, input: TensorLike, dtype: DTypeLike | None) -> Tensor:
    x = cast(tensor_of(input), dtype)
    if x.dtype.kind not in "fc":
        raise DistgradError(
            f"{name} of {x.dtype}: whole numbers have none; write {name}(x, dtype=np.float32)"
        )
    return x


@with_out
def logsumexp(input: TensorLike, dim: Ints, keepdim: bool = False) -> Tensor:
    """``log Σ exp(input)`` over ``dim``, without overflow."""
    x = real(input)
    return apply(ops.logsumexp, x, axis=axes(x, dim, "logsumexp"), keepdims=keepdim)


@with_out
def norm(
    input: TensorLike,
    p: float | str | None = "fro",
    dim: Ints | None = None,
    keepdim: bool = False,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """(Σ |x| ** p) ** (1 / p) of all elements along ``dim`` as one vector; "nuc": of a matrix."""
    x = cast(tensor_of(input), dtype)
    given = axes(x, dim, "norm")
    if p == "nuc":
        pair = tuple(range(x.ndim)) if given is None else given
        if len(pair) != 2:
            raise ShapeError(f"norm(p='nuc') is that of matrices, two axes; got {len(pair)}")
        return apply(np.linalg.norm, x, ord="nuc", axis=pair, keepdims=keepdim)
    if isinstance(p, str) and p != "fro":
        raise DistgradError(f"norm: p is a number, 'fro' or 'nuc'; got {p!r}")
    sizes = apply(ops.absolute, x) if x.dtype.kind == "c" else _fractions("norm", x, None)
    order = 2 if p is None or isinstance(p, str) else p
    return apply(ops.vector_norm, sizes, ord=order, axis=given, keepdims=keepdim)


# -- spreads --------------------------------------------------------------------------------------


@with_out
def var(
    input: TensorLike,
    dim: Ints | bool | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The variance over ``dim``: squared distances from the mean, over n - ``correction`` (1).

    ``unbiased=False`` is ``correction=0``; ``var(x, False)`` is read so, too.
    """
    x, over, ddof = _spread("var", input, dim, unbiased, correction)
    if x.dtype.kind == "c":
        parts = [apply(f, x) for f in (ops.real, ops.imag)]
        first, second = (apply(ops.var, p, axis=over, ddof=ddof, keepdims=keepdim) for p in parts)
        return apply(ops.add, first, second)
    return apply(ops.var, x, axis=over, ddof=ddof, keepdims=keepdim)


@with_out
def std(
    input: TensorLike,
    dim: Ints | bool | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The standard deviation over ``dim``: the root of ``var``."""
    x, over, ddof = _spread("std", input, dim, unbiased, correction)
    if x.dtype.kind == "c":
        return apply(ops.sqrt, var(x, over, keepdim=keepdim, correction=ddof))
    return apply(ops.std, x, axis=over, ddof=ddof, keepdims=keepdim)


@with_out
def var_mean(
    input: TensorLike,
    dim: Ints | bool | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(``var``, ``mean``) over ``dim``."""
    x, over, ddof = _spread("var_mean", input, dim, unbiased, correction)
    return var(x, over, keepdim=keepdim, correction=ddof), mean(x, over, keepdim)


@with_out
def std_mean(
    input: TensorLike,
    dim: Ints | bool | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(``std``, ``mean``) over ``dim``."""
    x, over, ddof = _spread("std_mean", input, dim, unbiased, correction)
    return std(x, over, keepdim=keepdim, correction=ddof), mean(x, over, keepdim)


def _spread(
    name: str,
    input: TensorLike,
    dim: Ints | bool | None,
    unbiased: bool | None,
    correction: float | None,
) -> tuple[Tensor, Shape | None, float]:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise DistgradError(f"{name}: give unbiased or correction, not both")
    x = _fractions(name, input, None)
    ddof: float = 1 if correction is None else correction
    return x, axes(x, dim, name), ddof if unbiased is None else int(unbiased)


# -- extremes -------------------------------------------------------------------------------------


@with_out
def amax(input: TensorLike, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """The largest elements over ``dim``; equal ones share the gradient."""
    x = real_numbers(tensor_of(input), "amax")
    return apply(ops.amax, x, axis=_filled(x, dim, "amax"), keepdims=keepdim)


@with_out
def amin(input: TensorLike, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """The smallest elements over ``dim``; equal ones share the gradient."""
    x = real_numbers(tensor_of(input), "amin")
    return apply(ops.amin, x, axis=_filled(x, dim, "amin"), keepdims=keepdim)


@with_out
def aminmax(input: TensorLike, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """The smallest and the largest elements over one axis, or of all: (min, max)."""
    return MinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


@with_out
def max(
    input: TensorLike,
    dim: int | TensorLike | None = None,
    keepdim: bool = False,
    *,
    other: TensorLike | None = None,
) -> Any:
    """The largest of all elements; (values, indices) along ``dim``; or the larger of two Tensors.

    Along an axis the first of equal elements counts, and gets the gradient.
    """
    if other is not None or isinstance(dim, Tensor | np.ndarray):
        return maximum(input, dim if other is None else other)
    return _extreme("max", input, dim, keepdim)


@with_out
def min(
    input: TensorLike,
    dim: int | TensorLike | None = None,
    keepdim: bool = False,
    *,
    other: TensorLike | None = None,
) -> Any:
    """The smallest of all elements; (values, indices) along ``dim``; or the smaller of two Tensors.

    Along an axis the first of equal elements counts, and gets the gradient.
    """
    if other is not None or isinstance(dim, Tensor | np.ndarray):
        return minimum(input, dim if other is None else other)
    return _extreme("min", input, dim, keepdim)


def _extreme(name: str, input: TensorLike, dim: Any, keepdim: bool) -> Any:
    x = real_numbers(tensor_of(input), name)
    if dim is None:
        if x.size == 0:
            raise ShapeError(f"{name} of no element: the shape is {x.shape}; name a dim")
        return (amax if name == "max" else amin)(x)
    (axis,) = _filled(x, one_axis(dim, x.ndim or 1, name), name) or (0,)
    declared = ops.max if name == "max" else ops.min
    values = apply(declared, x, axis=axis if x.ndim else None, keepdims=keepdim)
    return ValuesAndIndices(values, _place(name, x, axis, keepdim))


@with_out
def argmax(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the (first) largest element is, along ``dim`` or among all elements in a row."""
    return _arg("argmax", input, dim, keepdim)


@with_out
def argmin(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the (first) smallest element is, along ``dim`` or among all elements in a row."""
    return _arg("argmin", input, dim, keepdim)


def _arg(name: str, input: TensorLike, dim: int | None, keepdim: bool) -> Tensor:
    x = real_numbers(tensor_of(input), name)
    given = None if dim is None else one_axis(dim, x.ndim or 1, name)
    (axis,) = _filled(x, given, name) or (None,)
    return _place(name.removeprefix("arg"), x, axis, keepdim)


@apart
@keeps_form
def _place(name: str, x: Tensor, axis: int | None, keepdim: bool) -> Tensor:
    find: Any = x.array.argmax if name == "max" else x.array.argmin
    return output(find(axis=axis if x.ndim else None, keepdims=keepdim), None, 0)


# -- counts ---------------------------------------------------------------------------------------


@with_out
@apart
@keeps_form
def all(input: TensorLike, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """Whether all elements over ``dim`` are true (not 0)."""
    return _truths("all", np.logical_and, tensor_of(input), dim, keepdim)


@with_out
@apart
@keeps_form
def any(input: TensorLike, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """Whether one or more elements over ``dim`` are true (not 0)."""
    return _truths("any", np.logical_or, tensor_of(input), dim, keepdim)


def _truths(name: str, ufunc: np.ufunc, x: Tensor, dim: Ints | None, keepdim: bool) -> Tensor:
    # As in PyTorch, whose all() and any() alone read dim=() as over no axis.
    none = not (dim is None or isinstance(dim, int)) and np.size(dim) == 0
    found = ufunc.reduce(x.array, () if none else axes(x, dim, name), keepdims=keepdim)
    return output(found.astype(np.uint8) if x.array.dtype.char == "B" else found, None, 0)


@with_out
@apart
@keeps_form
def count_nonzero(input: TensorLike, dim: Ints | None = None) -> Tensor:
    """How many elements over ``dim`` are not 0."""
    x = tensor_of(input)
    return Tensor(np.asarray(np.count_nonzero(x.array, axis=axes(x, dim, "count_nonzero"))))


# -- axes -----------------------------------------------------------------------------------------


def axes(x: Tensor, dim: Ints | None, name: str) -> Shape | None:
    """Return ``dim`` counted from 0, None for all axes: those of a number may be called 0 or -1.

    Errors: ShapeError for axes that are not there.
    """
    if dim is None or (not isinstance(dim, int | np.integer) and len(tuple(dim)) == 0):
        return None
    found = axis_numbers(dim, x.ndim or 1, name)
    return found if x.ndim else None


def _filled(x: Tensor, dim: Ints | None, name: str) -> Any:
    """``axes``, of which none that is reduced may be empty."""
    found = axes(x, dim, name)
    for axis in range(x.ndim) if found is None else found:
        if x.shape[axis] == 0 and (found is not None or x.size == 0):
            raise ShapeError(f"{name} over axis {axis} of shape {x.shape}: there is no element")
    return found
