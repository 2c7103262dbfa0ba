"""Order along an axis: sort, topk, kth values, medians and quantiles, running extremes.

Of equal elements the first comes first, in either direction; NaN counts as the largest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.methods import ValuesAndIndices
from distgrad.autograd.methods.spelling import TwoMeanings
from distgrad.autograd.op import OpResult, Sample, constant, dispatch, op, plain
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Axis, Ints
from distgrad.errors import ShapeError
from distgrad.ops.along import take_along
from distgrad.ops.helpers import data_of
from distgrad.ops.indexing import as_tensor
from distgrad.ops.selection import first_places, has_nan, index_at, running_places
from distgrad.ops.shape import axis_numbers
from distgrad.ops.stable_order import stable_order

plain(np.argsort, np.argpartition, np.unique, np.lexsort)
plain(np.bincount, np.histogram, np.intersect1d, np.union1d, np.setdiff1d)


def _permutations(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(3, 4))
    return [((x,), {"indices": np.argsort(x, axis), "axis": axis}) for axis in (0, -1)]


@op("... -> ...", samples=_permutations)
def permute_along_axis(a: Array, *, indices: Array, axis: int) -> OpResult:
    """a in another order along ``axis``; ``indices`` hold each index of it once."""
    return np.take_along_axis(a, indices, axis), lambda g: np.take_along_axis(
        g, _inverse(indices, axis), axis
    )


@apart
@keeps_form
def _inverse(indices: Array, axis: int) -> Any:
    """The order that undoes an order along ``axis``: argsort's, without sorting."""
    inverse = np.empty_like(indices)
    np.put_along_axis(inverse, indices, _numbers(indices, axis), axis)
    return inverse


def _numbers(a: Array, axis: int) -> Array:
    """0, 1, … along ``axis``, to be broadcast to ``a``."""
    return np.arange(a.shape[axis]).reshape(
        [-1 if i == axis % a.ndim else 1 for i in range(a.ndim)]
    )


def _sort_numpys(x: TensorLike, *, axis: int | None = -1) -> Tensor:
    """``np.sort``: the elements in order along ``axis``, in a row if None."""
    values: Tensor = np_sort(as_tensor(x), axis)
    return values


def _sort_pytorchs(
    x: TensorLike, *, dim: int = -1, descending: bool = False, stable: bool = True
) -> ValuesAndIndices:
    """``torch.sort``, always stable: (values, indices) in order along ``dim``."""
    x = as_tensor(x)
    if x.ndim == 0:
        return ValuesAndIndices(+x, Tensor(fixed(np.zeros((), np.intp))))
    (axis,) = axis_numbers(dim, x.ndim, "sort")
    order = places(x, axis, descending)
    return ValuesAndIndices(permute_along_axis(x, indices=order, axis=axis), Tensor(order))


sort = TwoMeanings(
    _sort_numpys,
    _sort_pytorchs,
    "ops.sort(x, axis=1) or np.sort(x, 1) for the values, ops.sort(x, dim=1) for (values, indices)",
    bare="refused",
    written="ops.sort(x, {})",
)


@dispatch(np.sort)
def np_sort(
    a: Array | Tensor,
    axis: int | None = -1,
    kind: str | None = None,
    order: str | Sequence[str] | None = None,
    *,
    stable: bool | None = None,
) -> Any:
    """``np.sort``, always stable. Errors: ShapeError for field names in ``order``."""
    if order is not None:
        raise ShapeError(f"np.sort: a Tensor has no fields to order by; got order={order!r}")
    return sort(np.ravel(a), dim=0)[0] if axis is None else sort(a, dim=axis)[0]


@dispatch(np.partition)
def partition(a: Array | Tensor, kth: Ints, axis: int | None = -1) -> Any:
    """``np.partition``: element ``kth`` in its place, the smaller ones before it."""
    if axis is None:
        return partition(np.ravel(a), kth, 0)
    order = np.argpartition(data_of(a), kth, axis)
    return permute_along_axis(a, indices=order, axis=axis)


def topk(
    x: TensorLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesAndIndices:
    """The ``k`` largest (smallest) elements along ``dim``, in order: (values, indices).

    ``sorted=False`` changes nothing. Errors: ShapeError if there are fewer. Source: torch.topk.
    """
    x = as_tensor(x)
    (axis,) = axis_numbers(dim, x.ndim, "topk")
    if not 0 <= k <= x.shape[axis]:
        raise ShapeError(f"topk: k={k} is not in 0..{x.shape[axis]}, the length of axis {dim}")
    order = places(x, axis, largest, 0, k)
    return ValuesAndIndices(_along(x, order, axis), Tensor(order))


def kthvalue(x: TensorLike, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """The ``k``-th smallest element along ``dim``, counted from 1: (values, indices).

    Errors: ShapeError if there are fewer. Source: torch.kthvalue.
    """
    x = as_tensor(x)
    (axis,) = axis_numbers(dim, x.ndim, "kthvalue")
    if not 1 <= k <= x.shape[axis]:
        raise ShapeError(f"kthvalue: k={k} is not in 1..{x.shape[axis]}, the length of axis {dim}")
    index = places(x, axis, False, k - 1, k)
    return picked(x, index, axis, keepdim)


def _median_numpys(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``np.median``: the mean of the two middle elements of an even number."""
    middle: Tensor = np_median(as_tensor(x), axis, keepdims=keepdims)
    return middle


def _median_pytorchs(x: TensorLike, *, dim: int, keepdim: bool = False) -> ValuesAndIndices:
    """``torch.median``: the lower median along ``dim``: (values, indices), NaN if there is one.

    Errors: ShapeError for none.
    """
    x = as_tensor(x)
    (axis,) = axis_numbers(dim, x.ndim, "median")
    index = _middle(x, axis, "median")[0]
    return picked(x, index, axis, keepdim)


median = TwoMeanings(
    _median_numpys,
    _median_pytorchs,
    "ops.median(x, axis=1) or np.median(x, 1) for the mean of the middle two, "
    "ops.median(x, dim=1) for the lower median as (values, indices)",
    bare="refused",
    written="ops.median(x, {})",
)


@dispatch(np.median)
def np_median(a: Array | Tensor, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """``np.median``: of an even number of elements the mean of the middle two share it evenly."""
    row, shape = _reduced(a, axis, keepdims, "median")
    lower, upper = _middle(row, row.ndim - 1, "median")
    return np.reshape((_along(row, lower, -1) + _along(row, upper, -1)) * 0.5, shape)


@apart
@keeps_form
def _middle(x: Tensor, axis: int, name: str) -> tuple[Array, Array]:
    data, n = x.array, x.shape[axis]
    if n == 0:
        raise ShapeError(f"{name} of no elements: axis {axis} of shape {data.shape} is empty")
    low, high = (n - 1) // 2, n // 2
    if not has_nan(data):
        lower = index_at(data, axis, low)
        return lower, lower if low == high else index_at(data, axis, high)
    order = _order(data, axis, False)
    return _at(data, order, low, axis), _at(data, order, high, axis)


METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


@dispatch(np.quantile)
def quantile(
    a: Array | Tensor,
    q: TensorLike,
    axis: Axis = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    """``np.quantile`` in a's dtype: between two elements in proportion, or as ``method`` says.

    The result has q's shape, then that of the axes that are left. With "linear" q has a gradient.
    Errors: ShapeError for q outside [0, 1], no elements, or another method; GradError for a q that
    requires gradients with another method.
    """
    if method != "linear":
        q = constant(q, f"quantile with method={method!r}", "q")
    levels = np.asarray(data_of(q), np.float64)
    if method not in METHODS:
        raise ShapeError(f"quantile: the methods are {', '.join(METHODS)}; got {method!r}")
    if not ((levels >= 0) & (levels <= 1)).all():
        raise ShapeError(f"quantile: q lies in [0, 1] (0 to 100 for percentile); got {levels}")
    row, shape = _reduced(a, axis, keepdims, "quantile")
    n = row.shape[-1]
    if n == 0:
        raise ShapeError(f"quantile of no elements: the shape is {np.shape(a)}")
    order = places(row, row.ndim - 1, False)
    # A level on the tape is taken as it is: the gradient to it is the slope between two elements.
    given = np.reshape(q, (-1,)) if isinstance(q, Tensor) and q.requires_grad else None
    parts = []
    for i, level in enumerate(levels.reshape(-1)):
        place = float(level) * (n - 1)
        parts.append(_between(row, order, place, method, None if given is None else given[i]))
    if levels.ndim == 0:
        return np.reshape(parts[0], shape)
    if not parts:
        return Tensor(fixed(np.zeros((*levels.shape, *shape), row.dtype)))
    return np.reshape(np.stack(parts), (*levels.shape, *shape))


@dispatch(np.percentile)
def percentile(
    a: Array | Tensor,
    q: TensorLike,
    axis: Axis = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    """``np.percentile``: ``quantile`` at q / 100."""
    return quantile(a, np.true_divide(q, 100), axis, method=method, keepdims=keepdims)


def _between(row: Tensor, order: Array, place: float, method: str, level: Tensor | None) -> Any:
    """The value at a fractional place in the order along the last axis.

    The ``level`` is what the place was computed from, where it requires gradients.
    """
    if method == "nearest":
        place = round(place)  # half to even, as NumPy
    low, high = math.floor(place), math.ceil(place)
    at = {k: _along(row, _found_at(row, order, k), -1) for k in {low, high}}
    t: Any
    if level is not None:
        t = (level * (row.shape[-1] - 1) - low).astype(row.dtype)
    elif low == high or method in {"lower", "higher"}:
        return at[high if method == "higher" else low]
    else:
        t = 0.5 if method == "midpoint" else place - low
    return at[low] + (at[high] - at[low]) * t


@apart
@keeps_form
def _found_at(row: Tensor, order: Array, k: int) -> Array:
    return _at(row.array, order, k, -1)


# -- running extremes -----------------------------------------------------------------------------


def cummax(x: TensorLike, dim: int) -> ValuesAndIndices:
    """The largest element so far along ``dim``: (values, indices); of equal ones the latest."""
    return _running(np.maximum, x, dim, "cummax")


def cummin(x: TensorLike, dim: int) -> ValuesAndIndices:
    """The smallest element so far along ``dim``: (values, indices); of equal ones the latest."""
    return _running(np.minimum, x, dim, "cummin")


def _running(ufunc: np.ufunc, x: TensorLike, dim: int, name: str) -> ValuesAndIndices:
    x = as_tensor(x)
    (axis,) = axis_numbers(dim, x.ndim, name)
    index = _running_places(ufunc, x, axis)
    return ValuesAndIndices(_along(x, index, axis), Tensor(index))


@apart
@keeps_form
def _running_places(ufunc: np.ufunc, x: Tensor, axis: int) -> Array:
    return running_places(ufunc, x.array, axis)


# -- what they share ------------------------------------------------------------------------------


def picked(x: Tensor, index: Any, axis: int, keepdim: bool) -> ValuesAndIndices:
    """Return the elements at an ``index`` for each line along ``axis``, and it, kept or not."""
    values, found = take_along(x, index=index, axis=axis, drop=not keepdim), Tensor(index)
    return ValuesAndIndices(values, found if keepdim else found.squeeze(axis=axis))


def _along(x: Tensor, index: Array, axis: int) -> Tensor:
    return as_tensor(take_along(x, index=index, axis=axis))


@apart
def places(x: Tensor, axis: int, descending: bool, first: int = 0, past: int | None = None) -> Any:
    """The indices of the elements in order along ``axis``, those from ``first`` to ``past``."""
    if past is None:
        return _order(x.array, axis, descending)
    if past == first + 1 and not descending:
        return index_at(x.array, axis, first)
    found = first_places(x.array, axis, past, descending) if first == 0 else None
    if found is not None:
        return found
    order = _order(x.array, axis, descending)
    return order[(*[slice(None)] * axis, slice(first, past))].copy()


def _order(data: Array, axis: int, descending: bool) -> Array:
    if not descending:
        return stable_order(data, axis)
    # Reversed before and after, so that equal elements keep their order.
    backwards = stable_order(np.flip(data, axis), axis)
    return np.asarray(data.shape[axis] - 1 - np.flip(backwards, axis))


def _at(data: Array, order: Array, k: int, axis: int) -> Array:
    """The index of the ``k``-th smallest element along ``axis``: of a NaN if there is one."""
    index = np.take(order, [k], axis=axis)
    last = np.take(order, [-1], axis=axis)
    greatest = np.take_along_axis(data, last, axis)
    return np.where(greatest != greatest, last, index)


def _reduced(
    a: Array | Tensor, axis: Axis, keepdims: bool, name: str
) -> tuple[Tensor, tuple[int, ...]]:
    """Return ``a`` with the axes to reduce as its last one, and the shape of the result."""
    axes = tuple(range(a.ndim)) if axis is None else axis_numbers(axis, a.ndim, name)
    rest = [i for i in range(a.ndim) if i not in axes]
    kept = tuple(a.shape[i] for i in rest)
    moved = np.transpose(a, (*rest, *axes))
    row: Any = np.reshape(moved, (*kept, math.prod(a.shape[i] for i in axes)))
    shape = tuple(1 if i in axes else n for i, n in enumerate(a.shape)) if keepdims else kept
    return row, shape
