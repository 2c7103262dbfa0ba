"""Twins of what reads and writes at an index of its own for each line along an axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.tensor import TensorLike
from distgrad.autograd.types import Array
from distgrad.kernels.along import beside, counted
from distgrad.kernels.jit import kernel
from distgrad.ops.helpers import data_of


def take_along(
    a: Array,
    *,
    index: TensorLike,
    axis: int,
    name: str = "",
    negative: bool = False,
    drop: bool = False,
) -> OpResult | None:
    """The twin of ``ops.take_along`` for an index of the array's shape but along ``axis``."""
    found = _places(a, index, axis, negative=negative)
    if found is None:
        return None
    places, along = found
    shape, dtype = a.shape, a.dtype
    form = (*shape[:along], places.shape[1], *shape[along + 1 :])
    y = np.empty(form, dtype)
    _run(_take_lines, _take, beside(a, along), places, beside(y, along))

    def vjp(g: Array) -> Array:
        d = np.zeros(shape, dtype)
        _run(_add_lines, _add, beside(g.reshape(form), along), places, beside(d, along))
        return d

    return y.squeeze(along) if drop else y, vjp


def permute_along_axis(a: Array, *, indices: Array, axis: int) -> OpResult | None:
    """The twin of ``ops.permute_along_axis``."""
    found = _places(a, indices, axis)
    if found is None:
        return None
    places, along = found
    shape, dtype = a.shape, a.dtype
    y = np.empty(shape, dtype)
    _run(_take_lines, _take, beside(a, along), places, beside(y, along))

    def vjp(g: Array) -> Array:
        d = np.empty(shape, dtype)  # each place is written once
        _run(_put_lines, _put, beside(g, along), places, beside(d, along))
        return d

    return y, vjp


def add_along(
    a: Array, src: Array, *, index: TensorLike, axis: int, name: str = ""
) -> OpResult | None:
    """The twin of ``ops.add_along`` for a source of the array's shape but along ``axis``."""
    found = _places(a, index, axis, src)
    if found is None:
        return None
    places, along = found
    of_src, dtype = src.shape, a.dtype
    y = np.array(a, order="C")
    _run(_add_lines, _add, beside(src, along), places, beside(y, along))

    def to_src(g: Array) -> Array:
        d = np.empty(of_src, dtype)
        _run(_take_lines, _take, beside(g, along), places, beside(d, along))
        return d

    return y, (lambda g: g, to_src)


def put_along(
    a: Array, src: Array, *, index: TensorLike, axis: int, name: str = ""
) -> OpResult | None:
    """The twin of ``ops.put_along`` for a source of the array's shape but along ``axis``."""
    found = _places(a, index, axis, src)
    if found is None:
        return None
    places, along = found
    shape, of_src, dtype = a.shape, src.shape, a.dtype
    y = np.array(a, order="C")
    _run(_put_lines, _put, beside(src, along), places, beside(y, along))

    def to_a(g: Array) -> Array:
        d = np.array(g, order="C")
        _run(_clear_lines, _clear, places, beside(d, along))
        return d

    def to_src(g: Array) -> Array:
        d = np.empty(of_src, dtype)
        last = np.empty(shape, np.int32)
        arrays = beside(g, along), places, beside(last, along), beside(d, along)
        _run(_take_last_lines, _take_last, *arrays)
        return d

    return y, (to_a, to_src)


def _places(
    a: Array, index: TensorLike, axis: int, src: Array | None = None, negative: bool = False
) -> tuple[Array, int] | None:
    """Return the index as (outer, k, inner) and the axis; None for what the reference does.

    What is out of range, too: it says which is.
    """
    along = counted(axis, a) if type(a) is np.ndarray else None
    given = data_of(index)
    if along is None or type(given) is not np.ndarray or given.dtype.kind not in "iu":
        return None
    if given.ndim != a.ndim or not given.size:
        return None
    if (*a.shape[:along], given.shape[along], *a.shape[along + 1 :]) != given.shape:
        return None
    if src is not None and (
        type(src) is not np.ndarray or src.shape != given.shape or src.dtype != a.dtype
    ):
        return None
    whole = given if given.dtype == np.int64 else given.astype(np.int64)
    # Without a sign: what is negative is out of range, and an index is read as it stands.
    n = a.shape[along]
    places = beside(whole, along).view(np.uint64)
    fits = _are_below(n, places.reshape(-1))
    if negative and not fits:
        places = np.where(whole < 0, whole + n, whole).view(np.uint64).reshape(places.shape)
        fits = _are_below(n, places.reshape(-1))
    return (places, along) if fits else None


@kernel
def _are_below(n: int, places: Array) -> bool:
    fits = True
    for k in range(places.size):
        fits &= places[k] < np.uint64(n)
    return fits


def _run(lines: Callable[..., None], general: Callable[..., None], *arrays: Array) -> None:
    """Run a kernel of its own where nothing follows the axis: there the lines lie in a row each."""
    if arrays[0].shape[2] == 1:
        lines(*[a.reshape(a.shape[:2]) for a in arrays])
    else:
        general(*arrays)


@kernel
def _take_lines(x: Array, places: Array, y: Array) -> None:
    for i in range(y.shape[0]):
        line, row, to = x[i], places[i], y[i]
        for k in range(row.size):
            to[k] = line[row[k]]


@kernel
def _take(x: Array, places: Array, y: Array) -> None:
    for i in range(y.shape[0]):
        for k in range(y.shape[1]):
            for j in range(y.shape[2]):
                y[i, k, j] = x[i, places[i, k, j], j]


@kernel
def _add_lines(src: Array, places: Array, y: Array) -> None:
    for i in range(y.shape[0]):
        line, row, what = y[i], places[i], src[i]
        for k in range(row.size):
            line[row[k]] += what[k]


@kernel
def _add(src: Array, places: Array, y: Array) -> None:
    for i in range(y.shape[0]):
        for k in range(src.shape[1]):
            for j in range(src.shape[2]):
                y[i, places[i, k, j], j] += src[i, k, j]


@kernel
def _put_lines(src: Array, places: Array, y: Array) -> None:
    for i in range(y.shape[0]):
        line, row, what = y[i], places[i], src[i]
        for k in range(row.size):
            line[row[k]] = what[k]


@kernel
def _put(src: Array, places: Array, y: Array) -> None:
    for i in range(y.shape[0]):
        for k in range(src.shape[1]):
            for j in range(src.shape[2]):
                y[i, places[i, k, j], j] = src[i, k, j]


@kernel
def _clear(places: Array, d: Array) -> None:
    for i in range(places.shape[0]):
        for k in range(places.shape[1]):
            for j in range(places.shape[2]):
                d[i, places[i, k, j], j] = 0


@kernel
def _clear_lines(places: Array, d: Array) -> None:
    for i in range(places.shape[0]):
        line, row = d[i], places[i]
        for k in range(row.size):
            line[row[k]] = 0


@kernel
def _take_last(g: Array, places: Array, last: Array, d: Array) -> None:
    # Of several for one place the last one stayed: it alone has a gradient.
    zero = d.dtype.type(0)
    for i in range(d.shape[0]):
        for k in range(d.shape[1]):
            for j in range(d.shape[2]):
                last[i, places[i, k, j], j] = k
        for k in range(d.shape[1]):
            for j in range(d.shape[2]):
                p = places[i, k, j]
                d[i, k, j] = g[i, p, j] if last[i, p, j] == k else zero


@kernel
def _take_last_lines(g: Array, places: Array, last: Array, d: Array) -> None:
    zero = d.dtype.type(0)
    for i in range(d.shape[0]):
        line, row, winners, to = g[i], places[i], last[i], d[i]
        for k in range(row.size):
            winners[row[k]] = k
        for k in range(row.size):
            to[k] = line[row[k]] if winners[row[k]] == k else zero
