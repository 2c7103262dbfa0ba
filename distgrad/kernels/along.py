"""Twins of what picks, writes or mixes elements along one axis: take, set_at and resample.

An array is seen as (outer, n, inner): what is before the axis, the axis, what follows it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.tensor import TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.kernels.arrays import dense, suits
from distgrad.kernels.jit import kernel
from distgrad.kernels.turned import as_it_lies, lying
from distgrad.ops.checked import checked_index
from distgrad.ops.helpers import data_of, within
from distgrad.ops.interpolate import adjoint
from distgrad.ops.pad import Widths


def beside(a: Array, axis: int) -> Array:
    """Return ``a`` as (outer, n, inner)."""
    shape = a.shape
    return dense(a).reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))


def counted(axis: Any, a: Array) -> int | None:
    """Return the axis counted from 0; None for arrays and axes that are left to the reference."""
    if type(axis) is not int or not suits(a) or not -a.ndim <= axis < a.ndim:
        return None
    return axis % a.ndim


def neighbours(axis: Any, a: Array) -> tuple[int, int] | None:
    """Return the first of these axes and the one after the last; None unless they are neighbours.

    None for ``axis`` is all of them.
    """
    if not suits(a):
        return None
    if axis is None:
        return 0, a.ndim
    if type(axis) is int:
        found = counted(axis, a)
        return None if found is None else (found, found + 1)
    if type(axis) is not tuple or not all(type(i) is int and -a.ndim <= i < a.ndim for i in axis):
        return None
    axes = sorted(i % a.ndim for i in axis)
    if not axes or axes != list(range(axes[0], axes[0] + len(axes))):
        return None
    return axes[0], axes[-1] + 1


def take(
    a: Array, *, indices: TensorLike, axis: int | None = None, mode: str = "raise"
) -> OpResult | None:
    """The twin of ``ops.take`` along an axis."""
    along = counted(axis, a)
    if along is None or mode != "raise":
        return None
    index = np.asarray(checked_index("take", indices, a.shape[along], along))
    if index.ndim == 1:
        return _slices(a, axis=along, index=index)
    y, vjp = _slices(a, axis=along, index=index.reshape(-1))
    before, after = a.shape[:along], a.shape[along + 1 :]
    in_a_row = (*before, index.size, *after)
    return y.reshape((*before, *index.shape, *after)), lambda g: vjp(g.reshape(in_a_row))


@as_it_lies
def _slices(a: Array, *, axis: int, index: Array) -> tuple[Array, Callable[[Array], Array]]:
    shape, dtype, places = a.shape, a.dtype, index.astype(np.int64)
    y = np.empty((*shape[:axis], places.size, *shape[axis + 1 :]), dtype)
    x = beside(a, axis)
    across = (x.shape[0], places.size, x.shape[2])
    _take(x, places, y.reshape(across))

    def vjp(g: Array) -> Array:
        d = np.zeros(shape, dtype)
        _give(dense(g).reshape(across), places, beside(d, axis))
        return d

    return y, vjp


def add_slices(a: Array, src: Array, *, index: Array, axis: int) -> OpResult | None:
    """The twin of ``ops.add_slices``."""
    along = counted(axis, a)
    if along is None or not suits(a, src) or type(index) is not np.ndarray:
        return None
    y, places, of_src = np.array(a, order="C"), index.astype(np.int64), src.shape
    d = beside(y, along)
    across = (d.shape[0], places.size, d.shape[2])
    if src.size != math.prod(across) or not within(places, 0, d.shape[1] - 1):
        return None  # the reference words the error
    _give(dense(src).reshape(across), places, d)

    def to_src(g: Array) -> Array:
        part = np.empty(of_src, g.dtype)
        _take(beside(g, along), places, part.reshape(across))
        return part

    return y, (lambda g: g, to_src)


def set_at(a: Array, values: Array, *, index: Any) -> OpResult | None:
    """The twin of ``ops.set_at`` at an array of whole numbers, alone or after whole slices."""
    *before, last = index if type(index) is tuple else (index,)
    rows, along = data_of(last), len(before)
    if type(rows) is not np.ndarray or rows.dtype.kind not in "iu" or along >= a.ndim:
        return None
    if not suits(a, values) or any(type(k) is not slice or k != _ALL for k in before):
        return None
    shape, of_values, n = a.shape, values.shape, a.shape[along]
    if of_values != (*shape[:along], *rows.shape, *shape[along + 1 :]):
        return None
    places = rows.astype(np.int64).reshape(-1)
    if np.count_nonzero(places.view(np.uint64) >= n):  # negative ones, or too large
        places = np.where(places < 0, places + n, places)
        if np.count_nonzero(places.view(np.uint64) >= n):
            return None  # the reference says what is wrong
    y = np.array(a, order="C")
    d = beside(y, along)
    across = (d.shape[0], places.size, d.shape[2])
    _write(dense(values).reshape(across), places, d)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array, Array | None]:
        to_a = np.array(g, order="C")
        if not wanted[1]:
            _clear(places, beside(to_a, along))
            return to_a, None
        to_values = np.empty(of_values, g.dtype)
        _take_out(places, beside(to_a, along), to_values.reshape(across))
        return to_a, to_values

    return y, Joint(vjp)


_ALL = slice(None)


@kernel
def _write(values: Array, places: Array, y: Array) -> None:
    if y.shape[2] == 1:
        for i in range(y.shape[0]):
            for k in range(places.size):
                y[i, places[k], 0] = values[i, k, 0]
        return
    for i in range(y.shape[0]):
        for k in range(places.size):
            p = places[k]
            for j in range(y.shape[2]):
                y[i, p, j] = values[i, k, j]


@kernel
def _clear(places: Array, d: Array) -> None:
    zero = d.dtype.type(0)
    for i in range(d.shape[0]):
        for k in range(places.size):
            p = places[k]
            for j in range(d.shape[2]):
                d[i, p, j] = zero


@kernel
def _take_out(places: Array, g: Array, d: Array) -> None:
    # Of several values for one place the last one stayed: it comes first, and leaves zero behind.
    zero = d.dtype.type(0)
    if d.shape[2] == 1:
        for i in range(d.shape[0]):
            for k in range(places.size - 1, -1, -1):
                d[i, k, 0] = g[i, places[k], 0]
                g[i, places[k], 0] = zero
        return
    for i in range(d.shape[0]):
        for k in range(places.size - 1, -1, -1):
            p = places[k]
            for j in range(d.shape[2]):
                d[i, k, j] = g[i, p, j]
                g[i, p, j] = zero


@kernel
def _take(x: Array, places: Array, y: Array) -> None:
    if x.shape[2] == 1:
        for i in range(y.shape[0]):
            for k in range(places.size):
                y[i, k, 0] = x[i, places[k], 0]
        return
    for i in range(y.shape[0]):
        for k in range(places.size):
            p = places[k]
            for j in range(y.shape[2]):
                y[i, k, j] = x[i, p, j]


@kernel
def _give(g: Array, places: Array, d: Array) -> None:
    if d.shape[2] == 1:
        for i in range(d.shape[0]):
            for k in range(places.size):
                d[i, places[k], 0] += g[i, k, 0]
        return
    for i in range(d.shape[0]):
        for k in range(places.size):
            p = places[k]
            for j in range(d.shape[2]):
                d[i, p, j] += g[i, k, j]


def pad_border(a: Array, *, pad_width: Widths, mode: str) -> OpResult | None:
    """The twin of ``ops.pad_border`` for small arrays: in others slices are faster."""
    if not suits(a) or a.size > _FEW or lying(a) is not None:
        return None
    first = next((i for i, width in enumerate(pad_width) if any(width)), a.ndim)
    whole = [before + n + after for n, (before, after) in zip(a.shape, pad_width, strict=True)]
    places = _bordered(a.shape[first:], pad_width[first:], mode)
    shape, dtype = a.shape, a.dtype
    own, wide = (-1, math.prod(shape[first:]), 1), (-1, places.size, 1)
    y = np.empty(whole, dtype)
    _take(dense(a).reshape(own), places, y.reshape(wide))

    def vjp(g: Array) -> Array:
        d = np.zeros(shape, dtype)
        _give(dense(g).reshape(wide), places, d.reshape(own))
        return d

    return y, vjp


_FEW = 1 << 15


@functools.lru_cache(maxsize=64)
def _bordered(shape: Shape, widths: Widths, mode: Any) -> Array:
    """Return which element each one of the padded array is."""
    found: Array = np.pad(np.arange(math.prod(shape)).reshape(shape), widths, mode=mode)
    return found.reshape(-1)


@as_it_lies
def resample(x: Array, *, index: Array, weight: Array, axis: int) -> OpResult | None:
    """The twin of ``ops.resample``."""
    if not suits(x) or not index.size:
        return None
    there, back = _tables(index, weight, x.shape[axis], x.dtype)

    def vjp(g: Array) -> Array:
        return _resampled(g, back, axis)

    return _resampled(x, there, axis), vjp


_Table: TypeAlias = "tuple[Array, Array, bool]"
_known: dict[Any, tuple[tuple[_Table, _Table], tuple[Array, Array]]] = {}


def _tables(index: Array, weight: Array, length: int, dtype: Any) -> tuple[_Table, _Table]:
    """Return the tables of both ways as kernels take them. Those that cannot change are kept."""

    def plain(i: Array, w: Array) -> _Table:
        # By taps, and whether each element is one other as it is.
        return np.array(i.T, np.int64, order="C"), np.array(w.T, dtype, order="C"), is_pick(w)

    def is_pick(w: Array) -> bool:
        return w.shape[1] == 1 and bool((w == 1).all())

    key = id(index), id(weight), length, dtype
    if key in _known:
        return _known[key][0]
    made = plain(index, weight), plain(*adjoint(index, weight, length))
    if not index.flags.writeable and not weight.flags.writeable:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = made, (index, weight)  # held, so that no other array has their ids
    return made


_MOST_KNOWN = 64


def _resampled(x: Array, table: _Table, axis: int) -> Array:
    index, weight, picks = table
    y = np.empty((*x.shape[:axis], index.shape[1], *x.shape[axis + 1 :]), x.dtype)
    source, result = beside(x, axis), beside(y, axis)
    if picks:
        _take(source, index[0], result)
    elif source.shape[2] == 1:
        _resample_lines(
            source.reshape(source.shape[:2]), index, weight, result.reshape(result.shape[:2])
        )
    else:
        _resample(source, index, weight, result)
    return y


@kernel
def _resample_lines(x: Array, index: Array, weight: Array, y: Array) -> None:
    zero = y.dtype.type(0)
    for i in range(y.shape[0]):
        line, to = x[i], y[i]
        for t in range(index.shape[0]):
            places, w = index[t], weight[t]
            for k in range(places.size):
                # A weight of zero takes nothing, not even of a NaN.
                part = w[k] * line[places[k]] if w[k] != zero else zero
                to[k] = part if t == 0 else to[k] + part


@kernel
def _resample(x: Array, index: Array, weight: Array, y: Array) -> None:
    zero = y.dtype.type(0)
    for i in range(y.shape[0]):
        for k in range(index.shape[1]):
            for j in range(y.shape[2]):
                y[i, k, j] = zero
            for t in range(index.shape[0]):
                w, p = weight[t, k], index[t, k]
                if w != zero:  # it takes nothing, not even of a NaN
                    for j in range(y.shape[2]):
                        y[i, k, j] += w * x[i, p, j]
