"""Running sums, products and extremes along an axis; differences, slopes and integrals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad import kernels, ops
from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.methods import ValuesAndIndices
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike, Ints
from distgrad.errors import ShapeError
from distgrad.functions.arguments import cast, one_axis, real_numbers, tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import apply, real
from distgrad.ops.helpers import data_of
from distgrad.ops.shape import axis_numbers

IN_PLACE = ["cumsum", "cumprod"]

__all__ = [
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "cumulative_trapezoid",
    "diff",
    "gradient",
    "logcumsumexp",
    "trapezoid",
    "trapz",
]


@with_out
def cumsum(input: TensorLike, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """The running sum along ``dim``; whole numbers and booleans add up as int64."""
    return cast(_scan(ops.cumsum, _counting(input, dtype), dim), dtype)


@with_out
def cumprod(input: TensorLike, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """The running product along ``dim``."""
    return cast(_scan(ops.cumprod, _counting(input, dtype), dim), dtype)


@with_out
def logcumsumexp(input: TensorLike, dim: int) -> Tensor:
    """The running ``log Σ exp(input)`` along ``dim``, without overflow."""
    return _scan(ops.logcumsumexp, real(input), dim)


@with_out
def cummax(input: TensorLike, dim: int) -> ValuesAndIndices:
    """The largest element so far along ``dim``: (values, indices); of equal ones the latest."""
    return _running("cummax", ops.cummax, tensor_of(input), dim)


@with_out
def cummin(input: TensorLike, dim: int) -> ValuesAndIndices:
    """The smallest element so far along ``dim``: (values, indices); of equal ones the latest."""
    return _running("cummin", ops.cummin, tensor_of(input), dim)


def _scan(declared: Any, x: Tensor, dim: int) -> Tensor:
    axis = one_axis(dim, x.ndim or 1, declared.name)
    if x.ndim == 0:
        return x.clone()
    return apply(declared, x, axis=axis)


def _running(
    name: str, function: Callable[..., ValuesAndIndices], x: Tensor, dim: int
) -> ValuesAndIndices:
    axis = one_axis(dim, real_numbers(x, name).ndim or 1, name)
    if x.ndim == 0:
        return ValuesAndIndices(*[r.reshape(()) for r in function(x.reshape(1), dim)])
    index = _places(name, x, axis) if x.size >= _MANY and x.dtype.char in "fd" else None
    if index is None:
        return function(x, dim)
    return ValuesAndIndices(apply(np.take_along_axis, x, index, axis), Tensor(index))


@apart
@keeps_form
def _places(name: str, x: Tensor, axis: int) -> Array | None:
    """The indices of the extremes so far by a kernel; None where there is none."""
    twin = kernels.twin(name)
    found: Array | None = None if twin is None else twin(x.array, axis)
    return found


_MANY = 1 << 12
"""Elements: for fewer no kernel is compiled."""


def _counting(input: TensorLike, dtype: DTypeLike | None) -> Tensor:
    x = tensor_of(input)
    if dtype is None and x.dtype.kind in "biu":
        dtype = np.int64
    return cast(x, dtype)


# -- differences ----------------------------------------------------------------------------------


@with_out
def diff(
    input: TensorLike,
    n: int = 1,
    dim: int = -1,
    prepend: TensorLike | None = None,
    append: TensorLike | None = None,
) -> Tensor:
    """Each element less the one before along ``dim``, ``n`` times over; of booleans whether not.

    ``prepend`` and ``append`` are put before and after ``input`` first.
    """
    x = tensor_of(input)
    if x.ndim == 0:
        raise ShapeError("diff takes at least one axis; got a number")
    axis = one_axis(dim, x.ndim, "diff")
    parts = [tensor_of(p) for p in (prepend, x, append) if p is not None]
    if len(parts) > 1 and n > 0:
        x = apply(ops.concatenate, parts, axis)
    if n == 0:
        return x.clone()
    if x.dtype.kind != "b":
        return apply(ops.diff, x, min(n, x.shape[axis]), axis)
    return _changes(x, min(n, x.shape[axis]), axis)


@apart
@keeps_form
def _changes(x: Tensor, n: int, axis: int) -> Tensor:
    """Of booleans whether each differs from the one before, ``n`` times over."""
    data = x.array
    for _ in range(n):
        data = np.asarray(np.diff(data, axis=axis))
    return Tensor(data)


def gradient(
    input: TensorLike,
    *,
    spacing: Any = None,
    dim: Ints | None = None,
    edge_order: int = 1,
) -> tuple[Tensor, ...]:
    """The slopes along each axis of ``dim`` (all if None), from both neighbours of each element.

    ``spacing`` is the distance of neighbours (1), one for all axes or one for each, or the places
    along each axis (1-d Tensors). At the ends slopes are of order ``edge_order``, 1 or 2.
    Errors: ShapeError. Source: torch.gradient.
    """
    x = real(input)
    over = range(x.ndim) if dim is None else axis_numbers(dim, x.ndim, "gradient")
    if edge_order not in (1, 2):
        raise ShapeError(f"gradient: edge_order is 1 or 2; got {edge_order}")
    spacing = 1 if spacing is None else spacing
    steps = list(spacing) if isinstance(spacing, Sequence) else [spacing] * len(over)
    if len(steps) != len(over):
        raise ShapeError(f"gradient: {len(steps)} spacings for {len(over)} axes; give one for each")
    return tuple(
        [_slopes(x, step, axis, edge_order) for step, axis in zip(steps, over, strict=True)]
    )


def _slopes(x: Tensor, step: Any, axis: int, edge_order: int) -> Tensor:
    n = x.shape[axis]
    if n <= edge_order:
        raise ShapeError(
            f"gradient: axis {axis} has {n} elements; edge_order={edge_order} takes more"
        )
    row = x.swapaxes(axis, -1)
    if np.ndim(step) == 0:
        parts = _evenly(row, _step(step, x.dtype), edge_order)
    else:
        parts = _anyhow(row, _distances(step, n, axis, x.dtype), edge_order)
    return apply(ops.concatenate, parts, -1).swapaxes(axis, -1)


def _evenly(row: Tensor, h: Any, edge_order: int) -> list[Any]:
    """The first slope, those of inner elements and the last one, ``h`` from element to element."""
    inner = (row[..., 2:] - row[..., :-2]) / (2 * h)
    k = edge_order + 1
    first, last = row[..., 1:k] - row[..., : k - 1], row[..., 1 - k :] - row[..., -k:-1]
    if type(h) is not int or h != 1:
        first, last = first / h, last / h
    if edge_order == 2:
        first = first[..., :1] - (first[..., 1:] - first[..., :1]) / (2 * h) * h
        last = last[..., 1:] + (last[..., 1:] - last[..., :1]) / (2 * h) * h
    return [first, inner, last]


def _anyhow(row: Tensor, distances: tuple[Tensor, ...], edge_order: int) -> list[Any]:
    """What ``_evenly`` returns, of distances that differ."""
    h, late, early, both = distances
    slope = (row[..., 1:] - row[..., :-1]) / h
    inner = (slope[..., 1:] * early + slope[..., :-1] * late) / both
    first, last = slope[..., :1], slope[..., -1:]
    if edge_order == 2:
        bend = (slope[..., 1:] - slope[..., :-1]) / both
        first = first - bend[..., :1] * h[:1]
        last = last + bend[..., -1:] * h[-1:]
    return [first, inner, last]


def _step(step: Any, dtype: Any) -> Any:
    """The distance as a number of Python's, or a Tensor of ``dtype`` from which none flows back."""
    return step if type(step) in (int, float) else _as_step(step, dtype)


@apart
@keeps_form
def _as_step(step: Any, dtype: Any) -> Tensor:
    return Tensor(np.asarray(data_of(step)).astype(dtype))


@apart
@keeps_form
def _distances(step: Any, n: int, axis: int, dtype: Any) -> tuple[Tensor, ...]:
    """Those of neighbours, of each to the next and to the one before, and the sum of the two."""
    at = np.asarray(data_of(step))
    if at.shape != (n,):
        raise ShapeError(f"gradient: coordinates {at.shape} for {n} elements of axis {axis}")
    h = np.diff(at).astype(dtype)
    late, early = h[1:], h[:-1]
    return Tensor(h), Tensor(late), Tensor(early), Tensor(early + late)


# -- integrals ------------------------------------------------------------------------------------


@with_out
def trapezoid(
    y: TensorLike, x: TensorLike | None = None, *, dx: float | None = None, dim: int = -1
) -> Tensor:
    """The integral of ``y`` along ``dim`` by the trapezoidal rule, at ``x`` or in steps ``dx``."""
    if x is None:  # a sum, in which the ends count half
        values = real(y)
        row = _along_last(values, one_axis(dim, values.ndim, "trapezoid"))
        step = 1 if dx is None else dx
        weights = np.full(row.shape[-1], step, row.dtype)
        weights[:1] -= 0.5 * step
        weights[-1:] -= 0.5 * step
        return apply(ops.matmul, row, fixed(weights))
    return apply(ops.sum, _areas(y, x, dx, dim, "trapezoid"), axis=-1)


@with_out
def trapz(
    y: TensorLike, x: TensorLike | None = None, *, dx: float | None = None, dim: int = -1
) -> Tensor:
    """``trapezoid``."""
    return trapezoid(y, x, dx=dx, dim=dim)


@with_out
def cumulative_trapezoid(
    y: TensorLike, x: TensorLike | None = None, *, dx: float | None = None, dim: int = -1
) -> Tensor:
    """The running integral of ``y`` along ``dim``: one element fewer, the first step's first."""
    areas = _areas(y, x, dx, dim, "cumulative_trapezoid")
    return _along_last(
        apply(ops.cumsum, areas, axis=-1), one_axis(dim, areas.ndim, "cumulative_trapezoid")
    )


def _areas(y: TensorLike, x: TensorLike | None, dx: float | None, dim: int, name: str) -> Tensor:
    """The trapezoids between neighbours, ``dim`` as the last axis."""
    values = real(y)
    if x is not None and dx is not None:
        raise TypeError(f"{name} takes x or dx, not both")
    axis = one_axis(dim, values.ndim, name)
    row = _along_last(values, axis)
    sums: Tensor = row[..., 1:] + row[..., :-1]
    if x is None:
        halved: Tensor = sums * (0.5 if dx is None else 0.5 * dx)
        return halved
    at = real(x)
    if at.ndim > 1:
        at = at.swapaxes(axis - values.ndim, -1)
    if at.shape[-1] != row.shape[-1]:
        raise ShapeError(f"{name}: {at.shape[-1]} places x for {row.shape[-1]} values y")
    areas: Tensor = sums * (at[..., 1:] - at[..., :-1]) * 0.5
    return areas


def _along_last(x: Tensor, axis: int) -> Tensor:
    """Return ``x`` with ``axis`` (counted from 0) and the last one exchanged."""
    return x if axis == x.ndim - 1 else x.swapaxes(axis, -1)
