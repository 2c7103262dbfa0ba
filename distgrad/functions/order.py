"""Order along an axis: sorting, searching, medians and quantiles.

Sorting is stable; NaN counts as the largest.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.methods import ValuesAndIndices
from distgrad.autograd.tensor import Tensor, TensorLike, output
from distgrad.autograd.types import Array
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import one_axis, real_numbers, tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import apply
from distgrad.ops.selection import has_nan, index_at
from distgrad.ops.sort import picked, places
from distgrad.ops.stable_order import stable_order

__all__ = [
    "argsort",
    "bucketize",
    "isin",
    "kthvalue",
    "median",
    "mode",
    "msort",
    "nanmedian",
    "nanquantile",
    "quantile",
    "searchsorted",
    "sort",
    "topk",
]


@with_out
def sort(
    input: TensorLike, dim: int = -1, descending: bool = False, *, stable: bool = True
) -> ValuesAndIndices:
    """The elements in order along ``dim``, always stable: (values, indices)."""
    x = _ordered(input, "sort")
    one_axis(dim, x.ndim or 1, "sort")
    found: Any = ops.sort(x, dim=dim, descending=descending)
    return ValuesAndIndices(*found)


@with_out
@apart
def argsort(
    input: TensorLike, dim: int = -1, descending: bool = False, *, stable: bool = True
) -> Tensor:
    """The indices that put the elements in order along ``dim``."""
    x = _ordered(input, "argsort")
    axis = one_axis(dim, x.ndim or 1, "argsort")
    order = places(x, axis, descending) if x.ndim else np.zeros((), np.intp)
    return output(order, None, 0)


@with_out
def msort(input: TensorLike) -> Tensor:
    """The elements in order along the first axis."""
    return sort(input, 0).values


@with_out
def topk(
    input: TensorLike, k: int, dim: int | None = None, largest: bool = True, sorted: bool = True
) -> ValuesAndIndices:
    """The ``k`` largest (smallest) elements along ``dim`` (the last), in order: (values, indices).

    Errors: ShapeError if there are fewer.
    """
    x = _ordered(input, "topk")
    if x.ndim == 0:
        return _as_numbers(topk(x.reshape(1), k, dim, largest)) if k == 1 else topk(x[None], k)
    axis = -1 if dim is None else one_axis(dim, x.ndim, "topk")
    return ops.topk(x, k, axis, largest, sorted)


@with_out
def kthvalue(
    input: TensorLike, k: int, dim: int | None = None, keepdim: bool = False
) -> ValuesAndIndices:
    """The ``k``-th smallest element along ``dim`` (the last), from 1: (values, indices).

    Errors: ShapeError if there are fewer.
    """
    x = _ordered(input, "kthvalue")
    if x.ndim == 0:
        return _as_numbers(kthvalue(x.reshape(1), k, dim))
    axis = -1 if dim is None else one_axis(dim, x.ndim, "kthvalue")
    return ops.kthvalue(x, k, axis, keepdim)


# -- medians, modes, quantiles --------------------------------------------------------------------


@with_out
def median(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of all, or along ``dim``: (values, indices); NaN if there is one."""
    return _median("median", input, dim, keepdim)


@with_out
def nanmedian(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of what is not NaN; along ``dim``: (values, indices)."""
    return _median("nanmedian", input, dim, keepdim)


def _median(name: str, input: TensorLike, dim: int | None, keepdim: bool) -> Any:
    x = _ordered(input, name)
    if dim is None:
        if x.size == 0:  # as in PyTorch
            return Tensor(fixed(np.asarray(np.nan if x.dtype.kind == "f" else 0, x.dtype)))
        return _median(name, x.reshape(-1), 0, False)[0]
    if x.ndim == 0:
        return _as_numbers(_median(name, x.reshape(1), dim, False))
    axis = one_axis(dim, x.ndim, name)
    n = x.shape[axis]
    if n == 0:
        raise ShapeError(f"{name} over axis {axis} of shape {x.shape}: there is no element")
    return picked(x, _middle(x, axis, name == "nanmedian"), axis, keepdim)


@apart
@keeps_form
def _middle(x: Tensor, axis: int, skip: bool) -> Array:
    """The index of the lower median along an axis, NaN left out (``skip``) or the median."""
    data, n = x.array, x.shape[axis]
    if not has_nan(data):
        return index_at(data, axis, (n - 1) // 2)
    order = stable_order(data, axis)
    count = np.sum(data == data, axis=axis, keepdims=True)
    whole = np.where(count < n, count, (n - 1) // 2)  # a NaN if there is one: NaN are last
    place = np.maximum(count - 1, 0) // 2 if skip else whole
    return np.take_along_axis(order, place, axis)


@with_out
def mode(input: TensorLike, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """The most frequent element along ``dim``, of several the smallest: (values, indices).

    The index is that of its last occurrence.
    """
    x = _ordered(input, "mode")
    if x.ndim == 0:
        return _as_numbers(mode(x.reshape(1), dim))
    axis = one_axis(dim, x.ndim, "mode")
    n = x.shape[axis]
    if n == 0:
        raise ShapeError(f"mode over axis {axis} of shape {x.shape}: there is no element")
    return picked(x, _last_of_most(x, axis), axis, keepdim)


@apart
@keeps_form
def _last_of_most(x: Tensor, axis: int) -> Array:
    """The index of the last of the most frequent along an axis, which is not empty."""
    order = stable_order(x.array, axis).swapaxes(axis, -1)
    row = np.sort(x.array.swapaxes(axis, -1))
    place = np.arange(row.shape[-1])
    start = np.zeros(row.shape, np.intp)  # of the equal ones that each is among
    np.copyto(start[..., 1:], place[1:], where=row[..., 1:] != row[..., :-1])
    np.maximum.accumulate(start, -1, out=start)
    last = (place - start).argmax(-1, keepdims=True)
    return np.take_along_axis(order, last, -1).swapaxes(-1, axis)


@with_out
def quantile(
    input: TensorLike,
    q: TensorLike,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """The elements at the fractions ``q`` of the order along ``dim`` (of all if None); q in [0, 1].

    Between two elements as ``interpolation`` says: "linear", "lower", "higher", "midpoint",
    "nearest". NaN if there is one. The result has q's axis first. Errors: ShapeError.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


@with_out
def nanquantile(
    input: TensorLike,
    q: TensorLike,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """``quantile`` of what is not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)


def _quantile(
    name: str, input: TensorLike, q: TensorLike, dim: int | None, keepdim: bool, between: str
) -> Tensor:
    x = tensor_of(input)
    levels = q if isinstance(q, Tensor) else Tensor(_in_dtype(q, x.dtype))
    if x.dtype.kind != "f" or levels.dtype != x.dtype:
        raise DistgradError(
            f"{name} takes real x and q of one dtype; got {x.dtype}, {levels.dtype}"
        )
    if between not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise ShapeError(
            f"{name}: no interpolation {between!r}; linear, lower, higher, midpoint, nearest"
        )
    _check_levels(name, levels)
    row = x.reshape(-1) if dim is None else x.reshape(1) if x.ndim == 0 else x
    axis = 0 if dim is None else one_axis(dim, row.ndim, name)
    if row.shape[axis] == 0:
        raise ShapeError(f"{name} of no elements: the shape is {x.shape}")
    row = apply(ops.moveaxis, row, axis, -1)
    found = _levels(row, levels.reshape(-1), name == "nanquantile", between)  # … q
    if levels.ndim == 0:
        found = found[..., 0]
        if keepdim:
            found = found.reshape((1,) * x.ndim) if dim is None else found.unsqueeze(axis)
        return found.reshape(()) if x.ndim == 0 else found
    found = apply(ops.moveaxis, found, -1, 0)
    if keepdim:
        found = found.reshape(-1, *(1,) * x.ndim) if dim is None else found.unsqueeze(axis + 1)
    return found.reshape(-1) if x.ndim == 0 else found


def _in_dtype(q: Any, dtype: Any) -> Array:
    found = np.asarray(q, dtype)
    return found if isinstance(q, np.ndarray) else fixed(found)


@apart
def _check_levels(name: str, levels: Tensor) -> None:
    q = levels.array
    if q.ndim > 1 or not ((q >= 0) & (q <= 1)).all():
        raise ShapeError(f"{name}: q is a number or a row of numbers in [0, 1]; got {q}")


def _levels(row: Tensor, levels: Tensor, skip: bool, between: str) -> Tensor:
    """Quantiles of the last axis, at each level along a new last axis."""
    last = _last_places(row, skip)
    place = levels * last
    low, high, begin = _neighbours(row, place, skip, between)
    a = apply(np.take_along_axis, row, low, -1)
    if between in ("lower", "higher", "nearest"):
        return a
    b = apply(np.take_along_axis, row, high, -1)
    weight = place - begin if between == "linear" else 0.5
    return apply(ops.add, a, (b - a) * weight)


@apart
@keeps_form
def _last_places(row: Tensor, skip: bool) -> Array:
    """The place in the order that level 1 stands for: of what is not NaN (``skip``), or of all."""
    n = row.shape[-1]
    if not skip:
        return np.full((*row.shape[:-1], 1), n - 1, row.dtype)
    count: Array = np.sum(row.array == row.array, axis=-1, keepdims=True)
    last: Array = np.maximum(count - 1, 0).astype(row.dtype)
    return last


@apart
@keeps_form
def _neighbours(row: Tensor, place: Tensor, skip: bool, between: str) -> tuple[Array, Array, Array]:
    """The indices of the elements below and above each place, and where the lower one stands."""
    order, n, where = stable_order(row.array, -1), row.shape[-1], place.array
    if between != "linear":
        rounded = {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}.get(between)
        where = rounded(where) if rounded else where
    low, high = np.floor(where).astype(np.intp), np.ceil(where).astype(np.intp)
    if not skip:  # one NaN makes all of them NaN
        low = np.where(np.isnan(row.array).any(axis=-1, keepdims=True), n - 1, low)
    indices = [np.take_along_axis(order, at, -1) for at in (low, high)]
    return indices[0], indices[1], low.astype(row.dtype)


# -- searching ------------------------------------------------------------------------------------


@with_out
@apart
@keeps_form
def searchsorted(
    sorted_sequence: TensorLike,
    input: TensorLike,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: TensorLike | None = None,
) -> Tensor:
    """Where ``input`` would be put in to keep the order: before equal ones, after if ``right``.

    The sequence has one axis, or the axes of ``input`` but for the last. Errors: ShapeError.
    """
    edges, values = tensor_of(sorted_sequence).array, tensor_of(input).array
    if side not in (None, "left", "right") or (side == "left" and right):
        raise ShapeError(f"searchsorted: side is 'left' or 'right'; got {side!r}, right={right}")
    if sorter is not None:
        order = tensor_of(sorter).array
        if order.shape != edges.shape or order.dtype != np.int64:
            raise ShapeError(f"searchsorted: the sorter is int64 of shape {edges.shape}")
        edges = np.take_along_axis(edges, order, -1)
    at: Literal["left", "right"] = "right" if right or side == "right" else "left"
    kind = np.int32 if out_int32 else np.int64
    if edges.ndim == 1:
        return output(np.asarray(edges.searchsorted(values, at), kind), None, 0)
    if edges.ndim != values.ndim or edges.shape[:-1] != values.shape[:-1]:
        raise ShapeError(
            f"searchsorted: a sequence of shape {edges.shape} and values of {values.shape}: all "
            f"axes but the last are the same, or the sequence has one"
        )
    found = np.empty(values.shape, kind)
    for i in np.ndindex(edges.shape[:-1]):
        found[i] = np.searchsorted(edges[i], values[i], at)
    return Tensor(found)


@with_out
@apart
@keeps_form
def bucketize(
    input: TensorLike, boundaries: TensorLike, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The number of the bucket of each element: of sorted ``boundaries`` how many are smaller."""
    edges = tensor_of(boundaries)
    if edges.ndim != 1:
        raise ShapeError(f"bucketize: the boundaries have one axis; got shape {edges.shape}")
    return searchsorted(edges, input, out_int32=out_int32, right=right)


@with_out
@apart
@keeps_form
def isin(
    elements: TensorLike,
    test_elements: TensorLike,
    *,
    assume_unique: bool = False,
    invert: bool = False,
) -> Tensor:
    """Whether each of ``elements`` is among ``test_elements`` (is not, if ``invert``)."""
    a, b = tensor_of(elements).array, tensor_of(test_elements).array
    return Tensor(np.asarray(np.isin(a, b, invert=invert)))


# -- what they share ------------------------------------------------------------------------------


def _ordered(input: TensorLike, name: str) -> Tensor:
    return real_numbers(tensor_of(input), name)


def _as_numbers(found: ValuesAndIndices) -> ValuesAndIndices:
    return ValuesAndIndices(found.values.reshape(()), found.indices.reshape(()))
