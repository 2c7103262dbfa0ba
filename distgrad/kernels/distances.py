"""Twins of distances between rows, a stretch of columns at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import Scalar, dense, flat, suits
from distgrad.kernels.jit import exact_kernel, inlined, kernel
from distgrad.kernels.scalars import element, empty_of, least, most
from distgrad.kernels.vectors import (
    BYTES,
    add,
    broadcast,
    fma,
    load,
    load_some,
    magnitude,
    multiply,
    of_two,
    store,
    store_some,
    subtract,
    without_sign,
)
from distgrad.ops.distances import ORDERS

_STRETCH = 512
_PANEL = 4 * BYTES
_SHORT = 8
"""Numbers of a row below which gradients of pairs go along the partners."""
_LARGEST = -1
"""How the kernels call p = inf."""


def distances(a: Array, b: Array, *, p: float = 2.0, product: bool = False) -> OpResult | None:
    """The twin of ``ops.distances`` without a product, and without powers."""
    if product or p not in ORDERS or not suits(a, b) or not _fit(a, b):
        return None
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-2])
    # The inner loops go over the more rows: they become columns.
    turned = shape[-2] > shape[-1]
    first, second = (b, a) if turned else (a, b)
    rows = _rows(batch, first)
    form = len(rows), first.shape[-2] * second.shape[-2]
    y = _between(p, rows, _rows(batch, second), False, form)
    y = y.reshape(shape[:-2] + ((shape[-1], shape[-2]) if turned else shape[-2:]))
    if turned:
        y = np.ascontiguousarray(np.swapaxes(y, -1, -2))

    def vjp(wanted: Sequence[bool], g: Array) -> tuple[Array, Array]:
        w = _weights(g, y, p).reshape(y.shape)
        w, far = (np.swapaxes(x, -1, -2) if turned else x for x in (w, y))
        columns = _columns(_rows(batch, second))
        d_rows, d_columns = np.zeros_like(rows), np.zeros_like(columns)
        _back(dense(w).reshape(form), rows, columns, dense(far).reshape(form), _order(p),
              False, d_rows, d_columns)  # fmt: skip
        to_first = d_rows.reshape(*batch, *d_rows.shape[1:])
        to_second = d_columns.reshape(*batch, *d_columns.shape[1:]).swapaxes(-1, -2)
        return (to_second, to_first) if turned else (to_first, to_second)

    return y, Joint(vjp)


def pair_distances(x: Array, *, p: float = 2.0) -> OpResult | None:
    """The twin of ``ops.pair_distances`` without powers."""
    if p not in ORDERS or not suits(x) or x.ndim != 2:
        return None
    m, d = x.shape
    rows = _rows((), x)
    y = _between(p, rows, rows, True, (1, m * (m - 1) // 2)).reshape(-1)

    def vjp(g: Array) -> Array:
        if p == 0:
            return np.zeros_like(x)
        w = _weights(g, y, p)
        if d >= _SHORT:
            to = np.zeros((m, d), x.dtype)
            _BACK_ALONG[p](w, flat(x), y, m, d, flat(to))
            return to
        rows = _rows((), x)
        columns = _columns(rows)
        d_rows, d_columns = np.zeros_like(rows), np.zeros_like(columns)
        _back(w[None], rows, columns, y[None], _order(p), True, d_rows, d_columns)
        return np.asarray(d_rows[0] + d_columns[0].T)

    return y, vjp


def _fit(a: Array, b: Array) -> bool:
    return a.ndim > 1 and b.ndim > 1 and a.shape[-1] == b.shape[-1]


def _order(p: float) -> int:
    return _LARGEST if p == math.inf else int(p)


def _rows(batch: tuple[int, ...], a: Array) -> Array:
    """Return ``a`` as rows (batch, n, d)."""
    if a.ndim == len(batch) + 2 and a.shape[:-2] == batch:
        return dense(a).reshape(-1, *a.shape[-2:])
    return dense(np.broadcast_to(a, (*batch, *a.shape[-2:]))).reshape(-1, *a.shape[-2:])


def _columns(rows: Array) -> Array:
    return np.ascontiguousarray(rows.swapaxes(-1, -2))


def _weights(g: Array, y: Array, p: float) -> Array:
    """Return what the differences are multiplied by, or their signs, in a row."""
    w = flat(g)
    if p == 2:
        w, g = np.empty_like(w), w
        _over(g, y.reshape(-1), w)
    return w


@exact_kernel
def _over(g: Array, y: Array, w: Array) -> None:
    one = y.dtype.type(1)
    for i in range(w.size):
        w[i] = g[i] / (y[i] if y[i] != 0 else one)


def _between(p: float, rows: Array, others: Array, pairs: bool, shape: tuple[int, int]) -> Array:
    """Return the p-norms of the differences of all rows to all others, or to later ones alone."""
    y = np.empty(shape, rows.dtype)
    (_, n, d), panel = rows.shape, _PANEL // rows.itemsize
    columns = np.empty(others.shape[0] * -(-others.shape[1] // panel) * panel * d, rows.dtype)
    _in_panels(others, panel, columns)
    _BETWEEN[p](flat(rows), columns, n, others.shape[1], d, pairs, y)
    return y


@exact_kernel
def _in_panels(rows: Array, panel: int, to: Array) -> None:
    """Write rows (batch, n, d) as columns of so many rows each, (batch, n / panel, d, panel)."""
    (count, n, d), at = rows.shape, 0
    for s in range(count):
        for begin in range(0, n, panel):
            for j in range(panel):
                for k in range(d):
                    # The last panel's rest is one of the rows, too: nobody looks at it.
                    to[at + k * panel + j] = rows[s, least(begin + j, n - 1), k]
            at += d * panel


def _between_of(step: Any, root: bool) -> Callable[..., None]:
    def between(a: Array, b: Array, m: int, n: int, d: int, pairs: bool, y: Array) -> None:
        lanes = BYTES // a.itemsize
        panel, zero = 4 * lanes, broadcast(a.dtype.type(0))
        sums, z = empty_of(panel, a.dtype), 0
        for s in range(y.shape[0]):
            for begin in range(0, n, panel):
                end = least(begin + panel, n)
                for i in range(least(m, end - 1) if pairs else m):
                    v0, v1, v2, v3, at = zero, zero, zero, zero, (s * m + i) * d
                    for k in range(d):
                        x, here = broadcast(element(a, at + k)), z + k * panel
                        v0 = step(v0, subtract(x, load(b, here)))
                        v1 = step(v1, subtract(x, load(b, here + lanes)))
                        v2 = step(v2, subtract(x, load(b, here + 2 * lanes)))
                        v3 = step(v3, subtract(x, load(b, here + 3 * lanes)))
                    store(sums, 0, v0)
                    store(sums, lanes, v1)
                    store(sums, 2 * lanes, v2)
                    store(sums, 3 * lanes, v3)
                    first, start = _row(i, n, begin, pairs)
                    to = y[s, start + first : start + end]
                    for j in range(to.size):
                        v = sums[first - begin + j]
                        to[j] = np.sqrt(v) if root else v
                z += d * panel

    return exact_kernel(between)


@inlined
def _row(i: int, n: int, begin: int, pairs: bool) -> tuple[int, int]:
    """Return the first column of a stretch that the row i has, and where its column 0 would be."""
    # Of pairs the row i has the columns after i alone, and rows stand one after the other.
    if pairs:
        return most(begin, i + 1), i * (2 * n - i - 1) // 2 - i - 1
    return begin, i * n


def _one_more(builder: Any, count: Any, size: Any) -> Any:
    one, zero = (ir.Constant(size.type, [float(c)] * size.type.count) for c in (1, 0))
    nan = builder.fcmp_unordered("uno", size, size)
    more = builder.fadd(count, builder.select(nan, size, one))
    return builder.select(builder.fcmp_ordered("==", size, zero), count, more)


def _larger_or_nan(builder: Any, most: Any, size: Any) -> Any:
    larger, nan = builder.fcmp_ordered(">", size, most), builder.fcmp_unordered("uno", size, size)
    return builder.select(builder.or_(larger, nan), size, most)


_counted, _greater = of_two(_one_more), of_two(_larger_or_nan)
_BETWEEN = {
    2.0: _between_of(inlined(lambda total, v: fma(v, v, total)), True),
    1.0: _between_of(inlined(lambda total, v: add(total, magnitude(v))), False),
    0.0: _between_of(inlined(lambda count, v: _counted(count, magnitude(v))), False),
    math.inf: _between_of(inlined(lambda most, v: _greater(most, magnitude(v))), False),
}


@kernel
def _back(
    g: Array, a: Array, b: Array, y: Array, order: int, pairs: bool, to_a: Array, to_b: Array
) -> None:
    if order == 0:
        return
    n = b.shape[2]
    for s in range(a.shape[0]):
        for begin in range(0, n, _STRETCH):
            end = least(begin + _STRETCH, n)
            for i in range(a.shape[1]):
                first, start = _row(i, n, begin, pairs)
                if first >= end:
                    break
                w, far = g[s, start + first : start + end], y[s, start + first : start + end]
                for k in range(a.shape[2]):
                    x, row, to = a[s, i, k], b[s, k, first:end], to_b[s, k, first:end]
                    total = a.dtype.type(0)
                    if order == 2:
                        for j in range(to.size):
                            v = w[j] * (x - row[j])
                            total += v
                            to[j] -= v
                    elif order == 1:
                        for j in range(to.size):
                            v = _signed(x - row[j], w[j])
                            total += v
                            to[j] -= v
                    else:
                        for j in range(to.size):
                            v = _of_largest(x - row[j], w[j], far[j])
                            total += v
                            to[j] -= v
                    to_a[s, i, k] += total


def _back_along_of(pulled: Any) -> Callable[..., None]:
    """Return what ``_back`` does for pairs, two vectors of a row ``x`` at a time."""

    def back_along(g: Array, x: Array, y: Array, m: int, d: int, to: Array) -> None:
        lanes = BYTES // x.itemsize
        for k in range(0, d, 2 * lanes):
            n, some, more = 0, d - k, d - k - lanes
            for i in range(m):
                at = i * d + k
                x0, x1 = load_some(x, at, some), load_some(x, at + lanes, more)
                up0, up1 = load_some(to, at, some), load_some(to, at + lanes, more)
                for j in range(i + 1, m):
                    at = j * d + k
                    w, far = broadcast(element(g, n)), broadcast(element(y, n))
                    n += 1
                    v0 = pulled(subtract(x0, load_some(x, at, some)), w, far)
                    up0 = add(up0, v0)
                    store_some(to, at, some, subtract(load_some(to, at, some), v0))
                    if more > 0:
                        at += lanes
                        v1 = pulled(subtract(x1, load_some(x, at, more)), w, far)
                        up1 = add(up1, v1)
                        store_some(to, at, more, subtract(load_some(to, at, more), v1))
                at = i * d + k
                store_some(to, at, some, up0)
                store_some(to, at + lanes, more, up1)

    return kernel(back_along)


@inlined
def _signed(v: Scalar, w: Scalar) -> Scalar:
    return w if v > 0 else -w if v < 0 else v


@inlined
def _of_largest(v: Scalar, w: Scalar, far: Scalar) -> Scalar:
    return v * 0 if abs(v) < far else _signed(v, w)


def _with_sign(builder: Any, v: Any, w: Any) -> Any:
    zero = ir.Constant(v.type, [0.0] * v.type.count)
    below = builder.select(builder.fcmp_ordered("<", v, zero), builder.fneg(w), v)
    return builder.select(builder.fcmp_ordered(">", v, zero), w, below)


def _zero_below(builder: Any, v: Any, far: Any) -> Any:
    zero = ir.Constant(v.type, [0.0] * v.type.count)
    below = builder.fcmp_ordered("<", without_sign(builder, v), far)
    return builder.select(below, builder.fmul(v, zero), v)


_signed_by, _largest_of = of_two(_with_sign), of_two(_zero_below)
_BACK_ALONG = {
    2.0: _back_along_of(inlined(lambda v, w, far: multiply(w, v))),
    1.0: _back_along_of(inlined(lambda v, w, far: _signed_by(v, w))),
    math.inf: _back_along_of(inlined(lambda v, w, far: _signed_by(_largest_of(v, far), w))),
}
