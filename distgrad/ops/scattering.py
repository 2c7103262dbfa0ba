"""Scatter with a reduction: sums, products, means, extremes of what comes to lie at one place."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart
from distgrad.autograd.mode import grad_enabled
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.ops.along import places_of
from distgrad.ops.gather import added, corner
from distgrad.ops.indexing import as_tensor, checked_index
from distgrad.ops.shape import axis_numbers

REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def scatter_reduce(
    x: TensorLike,
    dim: int,
    index: TensorLike,
    src: TensorLike,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """``x`` with what ``src`` brings to ``index`` along ``dim`` reduced into it.

    ``reduce`` is "sum", "prod", "mean", "amax" or "amin"; without ``include_self`` the element
    itself does not count where something arrives. Equal extremes share the gradient.
    Errors: ShapeError. Source: torch.scatter_reduce.
    """
    x = as_tensor(x)
    places = places_of("scatter_reduce", x.shape, dim, index)
    values = as_tensor(corner("scatter_reduce", src, x, places.shape))
    return _reduced("scatter_reduce", x, places, values, reduce, include_self)


def index_reduce(
    x: TensorLike,
    dim: int,
    index: TensorLike,
    source: TensorLike,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """``scatter_reduce`` of whole slices of ``source`` at the 1-d ``index`` along ``dim``."""
    x, source = as_tensor(x), as_tensor(source)
    if x.ndim == 0:
        row = x.reshape(1), source.reshape(1)
        return index_reduce(row[0], dim, index, row[1], reduce, include_self=include_self).reshape(
            ()
        )
    (axis,) = axis_numbers(dim, x.ndim, "index_reduce")
    places = _places_of_slices(index, x.shape, axis)
    if source.shape != places.shape:
        raise ShapeError(
            f"index_reduce: source has shape {source.shape}; x and index ask {places.shape}"
        )
    return _reduced("index_reduce", x, places, source, reduce, include_self)


@apart
def _places_of_slices(index: TensorLike, shape: Shape, axis: int) -> Array:
    """The positions, among all elements of ``shape``, of the slices at ``index`` along ``axis``."""
    rows = checked_index("index_reduce", index, shape[axis], axis, negative=False).reshape(-1)
    return np.take(np.arange(math.prod(shape)).reshape(shape), rows, axis)


def _reduced(
    name: str, x: Tensor, places: Array, values: Tensor, reduce: str, include_self: bool
) -> Tensor:
    if reduce not in REDUCTIONS:
        raise ShapeError(f"{name}: reduce is one of {', '.join(REDUCTIONS)}; got {reduce!r}")
    flat, given = x.reshape(-1), values.reshape(-1)
    row, own = _arrived(places, flat.size, include_self)
    found = _KINDS[reduce](flat, row, given, own)
    return as_tensor(found).reshape(x.shape)


@apart
def _arrived(places: Array, size: int, include_self: bool) -> tuple[Array, Array | None]:
    """The places in a row, and whether each element counts itself (None: all do)."""
    row = places.reshape(-1)
    return row, None if include_self else np.bincount(row, minlength=size) == 0


def _own(x: Tensor, own: Array | None, otherwise: float) -> Tensor:
    """``x`` where its elements count (everywhere if None)."""
    return x if own is None else as_tensor(np.where(own, x, otherwise))


def _sum(x: Tensor, row: Array, given: Tensor, own: Array | None) -> Tensor:
    return added(_own(x, own, 0), row, given)


def _mean(x: Tensor, row: Array, given: Tensor, own: Array | None) -> Any:
    total, count = _sum(x, row, given, own), Tensor(_count(row, own, x.size))
    return total // count if total.dtype.kind in "iu" else total / count.astype(total.dtype)


@apart
def _count(row: Array, own: Array | None, size: int) -> Array:
    """How many elements come to each place, its own among them if it counts; 1 if none."""
    arrivals: Array = np.bincount(row, minlength=size)
    return arrivals + 1 if own is None else np.maximum(arrivals + own, 1)


@whole
def _prod(x: Tensor, row: Array, given: Tensor, own: Array | None) -> Any:
    total: Any = _own(x, own, 1)
    if not _recorded(x, given):
        found = np.array(total.array, np.result_type(total.array, given.array))
        np.multiply.at(found, row, given.array)
        return found
    # The first that arrives at each place, for all places at once; then the second; ….
    for part, at in _rounds(row):
        factor = np.full(x.size, -1)
        factor[at] = part
        total = total * np.where(factor < 0, 1, given[np.maximum(factor, 0)])
    return total


def _recorded(x: Tensor, given: Tensor) -> bool:
    return grad_enabled.get() and (x.requires_grad or given.requires_grad)


@whole
def _extreme(function: np.ufunc, x: Tensor, row: Array, given: Tensor, own: Array | None) -> Any:
    best = x.array.copy()
    if own is not None:
        best[~own] = _worst(function, x.dtype)
    with np.errstate(invalid="ignore"):  # NumPy warns of a NaN here, and only here
        function.at(best, row, given.array)
    if x.dtype.kind != "f":
        return best
    if not _recorded(x, given):
        return best + x.dtype.type(0)  # as below, where -0 becomes 0
    wins, own_wins = given.array == best[row], x.array == best
    if own is not None:
        own_wins &= own
    ties = np.maximum(np.bincount(row, wins, x.size) + own_wins, 1).astype(x.dtype)
    # Equal ones share the gradient; the value is exact, and may be infinite.
    share = added(as_tensor(np.where(own_wins, x, 0)), row, as_tensor(np.where(wins, given, 0)))
    share = as_tensor(np.where(np.isfinite(best), share / ties, 0))
    return best + (share - share.detach())


def _worst(function: np.ufunc, dtype: Any) -> Any:
    lowest = function is np.maximum
    if dtype.kind == "f":
        return -np.inf if lowest else np.inf
    if dtype.kind == "b":
        return not lowest
    return np.iinfo(dtype).min if lowest else np.iinfo(dtype).max


def _rounds(row: Array) -> list[tuple[Array, Array]]:
    """Pairs (which value, at which place), no place twice in a pair."""
    order = np.argsort(row, kind="stable")
    ordered = row[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(row) else row
    rank = np.arange(len(row)) - np.repeat(starts, np.diff(np.r_[starts, len(row)]))
    return [(order[rank == k], ordered[rank == k]) for k in range(rank.max(initial=-1) + 1)]


_KINDS: dict[str, Callable[..., Any]] = {
    "sum": _sum,
    "mean": _mean,
    "prod": _prod,
    "amax": functools.partial(_extreme, np.maximum),
    "amin": functools.partial(_extreme, np.minimum),
}
