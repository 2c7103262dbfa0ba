"""Order along an axis: sorting, searching, medians and quantiles.

Sorting is stable; NaN counts as the largest.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart
from distgrad.autograd.methods import ValuesAndIndices
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import one_axis, real_numbers, tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import apply
from distgrad.ops.selection import has_nan, index_at
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
    return sort(input, dim, descending).indices


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
            return Tensor(np.asarray(np.nan if x.dtype.kind == "f" else 0, x.dtype))
        return _median(name, x.reshape(-1), 0, False)[0]
    if x.ndim == 0:
        return _as_numbers(_median(name, x.reshape(1), dim, False))
    axis = one_axis(dim, x.ndim, name)
    n = x.shape[axis]
    if n == 0:
        raise ShapeError(f"{name} over axis {axis} of shape {x.shape}: there is no element")
    if not has_nan(x.array):
        return _pairs(x, index_at(x.array, axis, (n - 1) // 2), axis, keepdim)
    order = stable_order(x.array, axis)
    known = x.array == x.array
    count = np.sum(known, axis=axis, keepdims=True)
    if name == "nanmedian":
        place = np.maximum(count - 1, 0) // 2
    else:  # a NaN if there is one: NaN are last
        place = np.where(count < n, count, (n - 1) // 2)
    return _pairs(x, np.take_along_axis(order, place, axis), axis, keepdim)


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
    order = np.moveaxis(stable_order(x.array, axis), axis, -1)
    row = np.take_along_axis(np.moveaxis(x.array, axis, -1), order, -1)
    new = np.ones(row.shape, bool)
    np.not_equal(row[..., 1:], row[..., :-1], out=new[..., 1:])
    starts = np.flatnonzero(new)
    # How many equal ones stand before each.
    run = np.arange(row.size) - np.repeat(starts, np.diff(starts, append=row.size))
    run = run.reshape(row.shape)
    last = np.expand_dims(np.argmax(run, axis=-1), -1)
    index = np.moveaxis(np.take_along_axis(order, last, -1), -1, axis)
    return _pairs(x, index, axis, keepdim)


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
    levels = q if isinstance(q, Tensor) else Tensor(np.asarray(q, x.dtype))
    if x.dtype.kind != "f" or levels.dtype != x.dtype:
        raise DistgradError(
            f"{name} takes real x and q of one dtype; got {x.dtype}, {levels.dtype}"
        )
    if between not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise ShapeError(
            f"{name}: no interpolation {between!r}; linear, lower, higher, midpoint, nearest"
        )
    if levels.ndim > 1 or not ((levels.array >= 0) & (levels.array <= 1)).all():
        raise ShapeError(f"{name}: q is a number or a row of numbers in [0, 1]; got {q}")
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


def _levels(row: Tensor, levels: Tensor, skip: bool, between: str) -> Tensor:
    """Quantiles of the last axis, at each level along a new last axis."""
    order = stable_order(row.array, -1)
    n = row.shape[-1]
    count = np.sum(row.array == row.array, axis=-1, keepdims=True)
    last = (np.maximum(count - 1, 0) if skip else np.full(count.shape, n - 1)).astype(row.dtype)
    place = levels * last
    where = place.array
    if between != "linear":
        rounded = {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}.get(between)
        where = rounded(where) if rounded else where
    low, high = np.floor(where).astype(np.intp), np.ceil(where).astype(np.intp)
    if not skip:  # one NaN makes all of them NaN
        low = np.where(count < n, n - 1, low)
    a = apply(np.take_along_axis, row, np.take_along_axis(order, low, -1), -1)
    if between in ("lower", "higher", "nearest"):
        return a
    b = apply(np.take_along_axis, row, np.take_along_axis(order, high, -1), -1)
    weight = place - low.astype(row.dtype) if between == "linear" else 0.5
    return apply(ops.add, a, (b - a) * weight)


# -- searching ------------------------------------------------------------------------------------


@with_out
@apart
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
        return Tensor(np.asarray(np.searchsorted(edges, values, at), kind))
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


def _pairs(x: Tensor, index: Any, axis: int, keepdim: bool) -> ValuesAndIndices:
    values = apply(np.take_along_axis, x, index, axis)
    if keepdim:
        return ValuesAndIndices(values, Tensor(index))
    return ValuesAndIndices(values.squeeze(axis=axis), Tensor(np.squeeze(index, axis)))


def _as_numbers(found: ValuesAndIndices) -> ValuesAndIndices:
    return ValuesAndIndices(found.values.reshape(()), found.indices.reshape(()))
