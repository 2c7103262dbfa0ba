"""Twins of reductions over neighbouring axes: sums, extrema, the Euclidean norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Axis
from distgrad.kernels.along import neighbours
from distgrad.kernels.arrays import (
    blank,
    dense,
    empty,
    in_memory,
    in_order,
    on_forms,
    readable,
    run,
    spanned,
)
from distgrad.kernels.jit import inlined, kernel
from distgrad.kernels.recipe import of_one
from distgrad.kernels.scalars import empty_of
from distgrad.ops.helpers import spread
from distgrad.ops.reduce import expand, total

_BLOCK = 512


def _parts(a: Array, axis: Axis, keepdims: Any) -> tuple[Array, tuple[int, ...]] | None:
    """Return ``a`` as (outer, n, inner) and the shape of what comes out; None for the reference."""
    axes = neighbours(axis, a)
    if axes is None or not isinstance(keepdims, bool):
        return None
    shape, (first, end) = a.shape, axes
    x = dense(a).reshape(
        math.prod(shape[:first]), math.prod(shape[first:end]), math.prod(shape[end:])
    )
    return x, shape[:first] + ((1,) * (end - first) if keepdims else ()) + shape[end:]


def _extremum(
    ufunc: np.ufunc, back: Callable[..., None], a: Array, axis: Axis, keepdims: bool
) -> OpResult | None:
    parts = _parts(a, axis, keepdims)
    if parts is None:
        return None
    x, out = parts
    # NumPy's is as fast as memory, and right with NaN.
    lines = x.reshape(x.shape[:2]) if x.shape[2] == 1 else x
    y = ufunc.reduce(lines, axis=1).reshape(x.shape[0], x.shape[2])
    shape = a.shape

    def vjp(g: Array) -> Array:
        d = empty(x, shape)
        run(back, dense(g).reshape(y.shape), x, y, d.reshape(x.shape), writes=(3,))
        return d

    return y.reshape(out), vjp


@on_forms
def sum(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult | None:
    """The twin of ``ops.sum``."""
    found = _total(a, axis, keepdims, _sums)
    if found is None:
        return None
    shape = a.shape
    return found[0], lambda g: spread(expand(g, shape, axis, keepdims), shape)


@on_forms
def mean(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult | None:
    """The twin of ``ops.mean``."""
    found = _total(a, axis, keepdims, _sums)
    if found is None:
        return None
    shape, (whole, n) = a.shape, found

    def vjp(g: Array) -> Array:
        return spread(expand(g / n, shape, axis, keepdims), shape)

    return whole / n, vjp


def nansum(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult | None:
    """The twin of ``ops.nansum``."""
    found = _total(a, axis, keepdims, _sums_of_numbers)
    if found is None:  # small, or of columns: NumPy adds whole rows as fast as memory
        without = _without_nan(a) if isinstance(keepdims, bool) else None
        if without is None:
            return None
        found = total(without[0], axis, keepdims), 0
    back = _without_nan.made[a.dtype].backs[0].run  # type: ignore[attr-defined]
    shape, (x, order) = a.shape, in_memory(a)

    def vjp(g: Array) -> Array:
        result, d = blank(x, shape, order)
        back(in_order(spread(expand(g, shape, axis, keepdims), shape), order), x, d)
        return result

    return found[0], vjp


def _without_nan_member(F: Any) -> Any:
    zero = F(0)

    def value(x: Any) -> Any:
        return x if x == x else zero

    def back(g: Any, x: Any) -> Any:
        return g if x == x else zero

    return value, back


_without_nan_member.__name__ = "nansum"
_without_nan = of_one(_without_nan_member)


def _total(
    a: Array, axis: Axis, keepdims: bool, add: Callable[..., None]
) -> tuple[Array, int] | None:
    axes = neighbours(axis, a)
    if axes is None or a.size < _SMALL or not isinstance(keepdims, bool):
        return None  # small ones are NumPy's
    shape, (first, end) = a.shape, axes
    n = math.prod(shape[first:end])
    lines = _lines(a, first, end)
    if lines is None:  # over columns NumPy adds whole rows, as fast as memory
        return None
    x, step, length = lines
    y = empty(a, (a.size // length,), a.dtype if length == n else np.dtype(np.float64))
    run(add, x, step, length, y, writes=(3,))
    if length != n:
        y = np.add.reduce(y).astype(a.dtype)
    return y.reshape(shape[:first] + ((1,) * (end - first) if keepdims else ()) + shape[end:]), n


_SMALL = 4096


def _lines(a: Array, first: int, end: int) -> tuple[Array, int, int] | None:
    """Return the memory of ``a`` in a row, steps from line to line over these axes, their length.

    Lines with gaps between them are those of rows, also if all is asked for. None where no lines
    lie in a row each.
    """
    n = math.prod(a.shape[first:end])
    a = readable(a)
    if a.flags.c_contiguous:
        return (a.reshape(-1), n, n) if end == a.ndim else None
    if a.flags.f_contiguous:
        return (a.T.reshape(-1), n, n) if first == 0 and end >= a.ndim - 1 else None
    if a.ndim != 2 or end == 1 or a.strides[1] != a.itemsize:
        return None
    columns, step = a.shape[1], a.strides[0]
    if step % a.itemsize or step < columns * a.itemsize:
        return None
    return spanned(a), step // a.itemsize, columns


def _sums_of(term: Callable[[Any, Any], Any]) -> Callable[..., None]:
    def loop(x: Array, step: int, n: int, y: Array) -> None:
        # A block is summed in its own dtype, blocks in float64.
        zero = x.dtype.type(0)
        for i in range(y.size):
            line, whole = x[i * step : i * step + n], 0.0
            for begin in range(0, n, _BLOCK):
                block, part = line[begin : begin + _BLOCK], zero
                for k in range(block.size):
                    part += term(block[k], zero)
                whole += part
            y[i] = whole

    return kernel(loop)


_sums = _sums_of(inlined(lambda v, zero: v))
_sums_of_numbers = _sums_of(inlined(lambda v, zero: v if v == v else zero))


@on_forms
def amax(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult | None:
    """The twin of ``ops.amax``."""
    return _extremum(np.maximum, _even, a, axis, keepdims)


@on_forms
def amin(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult | None:
    """The twin of ``ops.amin``."""
    return _extremum(np.minimum, _even, a, axis, keepdims)


@on_forms
def max(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult | None:
    """The twin of ``ops.max``."""
    return _extremum(np.maximum, _first, a, axis, keepdims)


@on_forms
def min(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult | None:
    """The twin of ``ops.min``."""
    return _extremum(np.minimum, _first, a, axis, keepdims)


@kernel
def _even(g: Array, x: Array, y: Array, d: Array) -> None:
    # Equal ones share evenly; NaN is equal to NaN here.
    zero, one = d.dtype.type(0), d.dtype.type(1)
    count = empty_of(y.shape[1], d.dtype)
    for i in range(x.shape[0]):
        if x.shape[2] == 1:
            top, hits = y[i, 0], zero
            for k in range(x.shape[1]):
                v = x[i, k, 0]
                hits += one if (v == top) | ((v != v) & (top != top)) else zero
            share = g[i, 0] / hits
            for k in range(x.shape[1]):
                v = x[i, k, 0]
                d[i, k, 0] = share if (v == top) | ((v != v) & (top != top)) else zero
            continue
        count[:] = zero
        for k in range(x.shape[1]):
            for j in range(x.shape[2]):
                v, top = x[i, k, j], y[i, j]
                count[j] += one if (v == top) | ((v != v) & (top != top)) else zero
        for j in range(x.shape[2]):
            count[j] = g[i, j] / count[j]
        for k in range(x.shape[1]):
            for j in range(x.shape[2]):
                v, top = x[i, k, j], y[i, j]
                d[i, k, j] = count[j] if (v == top) | ((v != v) & (top != top)) else zero


@kernel
def _first(g: Array, x: Array, y: Array, d: Array) -> None:
    # The first of equal ones gets all of it; NaN is equal to NaN here.
    zero = d.dtype.type(0)
    left = empty_of(y.shape[1], d.dtype)
    for i in range(x.shape[0]):
        if x.shape[2] == 1:
            top = y[i, 0]
            for k in range(x.shape[1]):
                d[i, k, 0] = zero
            for k in range(x.shape[1]):
                v = x[i, k, 0]
                if v == top or (v != v and top != top):
                    d[i, k, 0] = g[i, 0]
                    break
            continue
        for j in range(x.shape[2]):
            left[j] = g[i, j]
        for k in range(x.shape[1]):
            for j in range(x.shape[2]):
                v, top = x[i, k, j], y[i, j]
                hit = (v == top) | ((v != v) & (top != top))
                d[i, k, j] = left[j] if hit else zero
                left[j] = zero if hit else left[j]


def vector_norm(
    a: Array, *, ord: float = 2, axis: Axis = None, keepdims: bool = False
) -> OpResult | None:
    """The twin of ``ops.vector_norm`` of order 2, where squares neither overflow nor vanish."""
    parts = _parts(a, axis, keepdims) if ord == 2 else None
    if parts is None:
        return None
    x, out = parts
    y = np.empty((x.shape[0], x.shape[2]), a.dtype)
    least, most = _SQUARES[a.dtype]
    if x.shape[2] == 1:
        fits = _norm_of_rows(x.reshape(x.shape[:2]), y.reshape(-1), least, most)
    else:
        fits = _norm(x, y, least, most)
    if not fits:
        return None
    shape, dtype = a.shape, a.dtype

    def vjp(g: Array) -> Array:
        d = np.empty(shape, dtype)
        _norm_back(dense(np.asarray(g)).reshape(y.shape), x, y, d.reshape(x.shape))
        return d

    return y.reshape(out), vjp


_SQUARES = {
    np.dtype(t): (t(np.finfo(t).tiny / np.finfo(t).eps ** 2), t(np.finfo(t).max))
    for t in (np.float32, np.float64)
}
"""Sums of squares between which none that counts was rounded to 0 or to infinity."""


@kernel
def _norm_of_rows(x: Array, y: Array, least: Any, most: Any) -> Any:
    # A block is summed in its own dtype, blocks in float64.
    fits = True
    for i in range(x.shape[0]):
        whole = 0.0
        for begin in range(0, x.shape[1], _BLOCK):
            block, part = x[i, begin : begin + _BLOCK], x.dtype.type(0)
            for k in range(block.size):
                part += block[k] * block[k]
            whole += part
        fits &= (whole >= least) & (whole <= most)
        y[i] = np.sqrt(whole)
    return fits


@kernel
def _norm(x: Array, y: Array, least: Any, most: Any) -> Any:
    total = empty_of(x.shape[2], x.dtype)
    fits = True
    for i in range(x.shape[0]):
        total[:] = x.dtype.type(0)
        for k in range(x.shape[1]):
            for j in range(x.shape[2]):
                total[j] += x[i, k, j] * x[i, k, j]
        for j in range(x.shape[2]):
            fits &= (total[j] >= least) & (total[j] <= most)
            y[i, j] = np.sqrt(total[j])
    return fits


@kernel
def _norm_back(g: Array, x: Array, y: Array, d: Array) -> None:
    scale = empty_of(y.shape[1], d.dtype)
    for i in range(x.shape[0]):
        for j in range(x.shape[2]):
            scale[j] = g[i, j] / y[i, j]
        if x.shape[2] == 1:
            s = scale[0]
            for k in range(x.shape[1]):
                d[i, k, 0] = s * x[i, k, 0]
            continue
        for k in range(x.shape[1]):
            for j in range(x.shape[2]):
                d[i, k, j] = scale[j] * x[i, k, j]
