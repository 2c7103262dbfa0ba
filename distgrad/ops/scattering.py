"""Scatter with a reduction: sums, products, means, extremes of what comes to lie at one place."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.mode import grad_enabled
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.ops.along import add_along, add_slices, places_of
from distgrad.ops.checked import checked_index
from distgrad.ops.gather import corner
from distgrad.ops.helpers import data_of
from distgrad.ops.indexing import as_tensor
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
    name, x = "scatter_reduce", as_tensor(x)
    values = as_tensor(corner(name, src, x, np.shape(data_of(index))))
    to = _Target(
        functools.partial(places_of, name, x.shape, dim, index),
        x.shape,
        functools.partial(add_along, index=index, axis=dim, name=name),
    )
    return _reduced(name, x, values, to, reduce, include_self)


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
    name, x, source = "index_reduce", as_tensor(x), as_tensor(source)
    if x.ndim == 0:
        row = x.reshape(1), source.reshape(1)
        return index_reduce(row[0], dim, index, row[1], reduce, include_self=include_self).reshape(
            ()
        )
    (axis,) = axis_numbers(dim, x.ndim, name)
    rows = _rows(index, x.shape[axis], axis)
    wanted = (*x.shape[:axis], rows.size, *x.shape[axis + 1 :])
    if source.shape != wanted:
        raise ShapeError(f"{name}: source has shape {source.shape}; x and index ask {wanted}")
    to = _Target(
        functools.partial(_places_of_slices, rows, x.shape, axis),
        (*x.shape[: axis + 1], *[1] * (x.ndim - axis - 1)),
        functools.partial(add_slices, index=rows, axis=axis),
    )
    values = as_tensor(corner(name, source, x, wanted))
    return _reduced(name, x, values, to, reduce, include_self)


@apart
@keeps_form
def _rows(index: TensorLike, length: int, axis: int) -> Array:
    return checked_index("index_reduce", index, length, axis, negative=False).reshape(-1)


@apart
@keeps_form
def _places_of_slices(rows: Array, shape: Shape, axis: int) -> Array:
    """The positions, in an array of ``shape``, of the slices at ``rows`` along ``axis``."""
    before = np.arange(math.prod(shape[:axis])) * shape[axis]
    return np.reshape(before[:, None] + rows, -1)


class _Target(NamedTuple):
    """Where values go, element by element or as slices of several that lie in a row."""

    places: Callable[[], Array]
    """Their positions among all elements, or slices."""
    shape: Shape
    """That of x, its slices counted as one element."""
    add: Callable[[Any, Any], Tensor]
    """The op that adds them there."""


def _reduced(
    name: str, x: Tensor, values: Tensor, to: _Target, reduce: str, include_self: bool
) -> Tensor:
    if reduce not in REDUCTIONS:
        raise ShapeError(f"{name}: reduce is one of {', '.join(REDUCTIONS)}; got {reduce!r}")
    own = None if include_self else _own(to.places(), to.shape)
    return as_tensor(_KINDS[reduce](x, values, to, own))


@apart
@keeps_form
def _own(places: Array, shape: Shape) -> Array:
    """Whether each element (slice) counts itself: nothing arrives at its place."""
    alone = np.ones(shape, np.bool_)
    alone.reshape(-1)[places.reshape(-1)] = False
    return alone


def _sum(x: Tensor, values: Tensor, to: _Target, own: Array | None) -> Tensor:
    return to.add(x if own is None else np.where(own, x, 0), values)


def _mean(x: Tensor, values: Tensor, to: _Target, own: Array | None) -> Any:
    total, count = _sum(x, values, to, own), Tensor(_count(to.places(), own, to.shape))
    return total // count if total.dtype.kind in "iu" else total / count.astype(total.dtype)


@apart
@keeps_form
def _count(places: Array, own: Array | None, shape: Shape) -> Array:
    """How many elements come to each place, its own among them if it counts; 1 if none."""
    arrivals: Array = np.bincount(places.reshape(-1), minlength=math.prod(shape)).reshape(shape)
    return arrivals + 1 if own is None else np.maximum(arrivals + own, 1)


def _prod(x: Tensor, values: Tensor, to: _Target, own: Array | None) -> Any:
    return _products(x, _each(to.places(), _width(x, to)), values, own)


def _width(x: Tensor, to: _Target) -> int:
    return x.size // max(math.prod(to.shape), 1)


@apart
@keeps_form
def _each(places: Array, width: int) -> Array:
    """The positions of elements, in a row, of those of slices of ``width``."""
    return np.reshape(places.reshape(-1, 1) * width + np.arange(width), -1)


@whole
@keeps_form
def _products(x: Tensor, row: Array, values: Tensor, own: Array | None) -> Any:
    start: Any = x if own is None else as_tensor(np.where(own, x, 1))
    total, given = start.reshape(-1), values.reshape(-1)
    if not (grad_enabled.get() and (x.requires_grad or given.requires_grad)):
        found = np.array(total.array, np.result_type(total.array, given.array))
        np.multiply.at(found, row, given.array)
        return found.reshape(x.shape)
    # The first that arrives at each place, for all places at once; then the second; ….
    for part, at in _rounds(row):
        factor = np.full(x.size, -1)
        factor[at] = part
        total = total * np.where(factor < 0, 1, given[np.maximum(factor, 0)])
    return total.reshape(x.shape)


def _extreme(largest: bool, x: Tensor, values: Tensor, to: _Target, own: Array | None) -> Any:
    return extreme_at(x, values, places=to.places(), width=_width(x, to), own=own, largest=largest)


def _arrivals(rng: np.random.Generator) -> list[Sample]:
    places = np.array([[2, 0, 2], [5, 0, 5]])
    a, src = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    return [
        ((a, src), {"places": places, "largest": False}),
        ((a, src), {"places": places, "own": np.isin(np.arange(6), places, invert=True)}),
        ((a, src[:, :2]), {"places": np.array([1, 1]), "width": 2}),
    ]


@op("..., ... -> ...", samples=_arrivals)
def extreme_at(
    a: Array,
    src: Array,
    *,
    places: Array,
    width: int = 1,
    own: Array | None = None,
    largest: bool = True,
) -> OpResult:
    """The largest (smallest) of a and what ``src`` brings to ``places``, as counted in a row.

    They are those of slices of ``width``; where ``own`` is false a's does not count. Equal ones
    share the gradient; a NaN has none.
    """
    row, form = _each(places, width), src.shape
    y, mine, wins, ties = _extremes(a, src, row, own, largest)
    return y, (
        lambda g: np.where(mine, g / ties, 0),
        lambda g: np.where(wins, np.reshape(np.reshape(g / ties, (-1,))[row], form), 0),
    )


@apart
@keeps_form
def _extremes(
    a: Array, src: Array, row: Array, own: Array | None, largest: bool
) -> tuple[Array, Array, Array, Array]:
    """The extremes, whether each element and each value is one, and how many are at each place."""
    x, given = np.reshape(data_of(a), (-1,)), data_of(src)
    best = x.copy()
    if own is not None:
        own = np.repeat(own.reshape(-1), x.size // max(own.size, 1))
        best[~own] = _worst(largest, x.dtype)
    with np.errstate(invalid="ignore"):  # NumPy warns of a NaN here, and only here
        (np.maximum if largest else np.minimum).at(best, row, given.reshape(-1))
    if x.dtype.kind == "f":
        best += 0  # which of 0 and -0 stays is not for the order to decide
    wins, mine = given == best[row].reshape(given.shape), x == best
    if own is not None:
        mine &= own
    ties = np.maximum(np.bincount(row, wins.reshape(-1), x.size) + mine, 1).astype(x.dtype)
    return best.reshape(a.shape), mine.reshape(a.shape), wins, ties.reshape(a.shape)


def _worst(largest: bool, dtype: Any) -> Any:
    if dtype.kind == "f":
        return -np.inf if largest else np.inf
    if dtype.kind == "b":
        return not largest
    return np.iinfo(dtype).min if largest else np.iinfo(dtype).max


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
    "amax": functools.partial(_extreme, True),
    "amin": functools.partial(_extreme, False),
}
