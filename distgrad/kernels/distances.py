"""Twins of distances between rows, a stretch of columns at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import Scalar, dense, suits
from distgrad.kernels.jit import exact_kernel, inlined, kernel
from distgrad.kernels.scalars import least, most
from distgrad.ops.distances import ORDERS
from distgrad.ops.reduce import nonzero

_STRETCH = 512
_AT_ONCE = 4
_LARGEST = -1
"""How the kernels call p = inf."""


def distances(a: Array, b: Array, *, p: float = 2.0, product: bool = False) -> OpResult | None:
    """The twin of ``ops.distances`` without a product, and without powers."""
    if product or p not in ORDERS or not suits(a, b) or not _fit(a, b):
        return None
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-2])
    d = a.shape[-1]
    # The inner loops go over the more rows: they become columns.
    turned = shape[-2] > shape[-1]
    rows, columns = _parts(batch, b if turned else a, a if turned else b)
    order = _order(p)
    flat = np.empty((len(rows), rows.shape[1] * columns.shape[2]), a.dtype)
    _between(rows, columns, order, False, flat)
    form = flat.shape
    y = flat.reshape(shape[:-2] + ((shape[-1], shape[-2]) if turned else shape[-2:]))
    if turned:
        y = np.ascontiguousarray(np.swapaxes(y, -1, -2))

    def vjp(wanted: Sequence[bool], g: Array) -> tuple[Array, Array]:
        w, far = (np.swapaxes(x, -1, -2) if turned else x for x in (_weights(g, y, p), y))
        d_rows, d_columns = np.zeros_like(rows), np.zeros_like(columns)
        _back(dense(w).reshape(form), rows, columns, dense(far).reshape(form), order,
              False, d_rows, d_columns)  # fmt: skip
        first = d_rows.reshape(*batch, *d_rows.shape[1:])[..., :d]
        second = d_columns.reshape(*batch, *d_columns.shape[1:]).swapaxes(-1, -2)[..., :d]
        return (second, first) if turned else (first, second)

    return y, Joint(vjp)


def pair_distances(x: Array, *, p: float = 2.0) -> OpResult | None:
    """The twin of ``ops.pair_distances`` without powers."""
    if p not in ORDERS or not suits(x) or x.ndim != 2:
        return None
    order, (m, d) = _order(p), x.shape
    rows, columns = _parts((), x, x)
    y = np.empty(m * (m - 1) // 2, x.dtype)
    _between(rows, columns, order, True, y[None])

    def vjp(g: Array) -> Array:
        w = dense(_weights(g, y, p))
        if m < 8 * d:  # loops over a row's m / 2 partners add them up, which takes as long
            to = np.zeros_like(x)
            _back_along(w, dense(x), y, order, to)
            return to
        d_rows, d_columns = np.zeros_like(rows), np.zeros_like(columns)
        _back(w[None], rows, columns, y[None], order, True, d_rows, d_columns)
        return np.asarray((d_rows[0] + d_columns[0].T)[:, :d])

    return y, vjp


def _fit(a: Array, b: Array) -> bool:
    return a.ndim > 1 and b.ndim > 1 and a.shape[-1] == b.shape[-1]


def _order(p: float) -> int:
    return _LARGEST if p == math.inf else int(p)


def _parts(batch: tuple[int, ...], a: Array, b: Array) -> tuple[Array, Array]:
    """Return ``a`` as rows (batch, n, d) and ``b`` as columns (batch, d, m).

    d is made a multiple of what the kernels take at once, by zeros: equal, they change no distance.
    """
    count, d = math.prod(batch), a.shape[-1]
    whole = -(-d // _AT_ONCE) * _AT_ONCE
    rows = np.zeros((count, a.shape[-2], whole), a.dtype)
    columns = np.zeros((count, whole, b.shape[-2]), a.dtype)
    rows.reshape(*batch, *rows.shape[1:])[..., :d] = a
    columns.reshape(*batch, *columns.shape[1:])[..., :d, :] = b.swapaxes(-1, -2)
    return rows, columns


def _weights(g: Array, y: Array, p: float) -> Array:
    return g / nonzero(y) if p == 2 else np.asarray(g)


@exact_kernel
def _between(  # noqa: PLR0912 (an order each: its loop knows it)
    a: Array, b: Array, order: int, pairs: bool, y: Array
) -> None:
    n = b.shape[2]
    for s in range(a.shape[0]):
        for begin in range(0, n, _STRETCH):
            end = least(begin + _STRETCH, n)
            for i in range(a.shape[1]):
                first, start = _row(i, n, begin, pairs)
                if first >= end:
                    break
                to = y[s, start + first : start + end]
                to[:] = 0
                for k in range(0, a.shape[2], _AT_ONCE):
                    x0, x1, x2, x3 = a[s, i, k], a[s, i, k + 1], a[s, i, k + 2], a[s, i, k + 3]
                    b0, b1 = b[s, k, first:end], b[s, k + 1, first:end]
                    b2, b3 = b[s, k + 2, first:end], b[s, k + 3, first:end]
                    if order == 2:
                        for j in range(to.size):
                            v0, v1, v2, v3 = x0 - b0[j], x1 - b1[j], x2 - b2[j], x3 - b3[j]
                            to[j] = (((to[j] + v0 * v0) + v1 * v1) + v2 * v2) + v3 * v3
                    elif order == 1:
                        for j in range(to.size):
                            v0, v1, v2, v3 = x0 - b0[j], x1 - b1[j], x2 - b2[j], x3 - b3[j]
                            to[j] = (((to[j] + abs(v0)) + abs(v1)) + abs(v2)) + abs(v3)
                    elif order == 0:
                        for j in range(to.size):
                            t = _counted(_counted(to[j], x0 - b0[j]), x1 - b1[j])
                            to[j] = _counted(_counted(t, x2 - b2[j]), x3 - b3[j])
                    else:
                        for j in range(to.size):
                            t = _greater(_greater(to[j], x0 - b0[j]), x1 - b1[j])
                            to[j] = _greater(_greater(t, x2 - b2[j]), x3 - b3[j])
                if order == 2:
                    for j in range(to.size):
                        to[j] = np.sqrt(to[j])


@inlined
def _row(i: int, n: int, begin: int, pairs: bool) -> tuple[int, int]:
    """Return the first column of a stretch that the row i has, and where its column 0 would be."""
    # Of pairs the row i has the columns after i alone, and rows stand one after the other.
    if pairs:
        return most(begin, i + 1), i * (2 * n - i - 1) // 2 - i - 1
    return begin, i * n


@inlined
def _counted(count: Scalar, v: Scalar) -> Scalar:
    more = count if v == 0 else count + np.float32(1)
    return more if v == v else v


@inlined
def _greater(most: Scalar, v: Scalar) -> Scalar:
    size = abs(v)
    return size if (size > most) | (size != size) else most


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


@kernel
def _back_along(g: Array, x: Array, y: Array, order: int, to: Array) -> None:
    """What ``_back`` does for pairs, along the rows of ``x``."""
    if order == 0:
        return
    n = 0
    for i in range(x.shape[0]):
        for j in range(i + 1, x.shape[0]):
            w, far, one, other, up, down = g[n], y[n], x[i], x[j], to[i], to[j]
            n += 1
            if order == 2:
                for k in range(one.size):
                    v = w * (one[k] - other[k])
                    up[k] += v
                    down[k] -= v
            elif order == 1:
                for k in range(one.size):
                    v = _signed(one[k] - other[k], w)
                    up[k] += v
                    down[k] -= v
            else:
                for k in range(one.size):
                    v = _of_largest(one[k] - other[k], w, far)
                    up[k] += v
                    down[k] -= v


@inlined
def _signed(v: Scalar, w: Scalar) -> Scalar:
    return w if v > 0 else -w if v < 0 else v


@inlined
def _of_largest(v: Scalar, w: Scalar, far: Scalar) -> Scalar:
    return v * 0 if abs(v) < far else _signed(v, w)
