"""Twins of what Gauss's elimination does to small matrices: solve, inv, det, slogdet, LU."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult, OpResults
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import suits
from distgrad.kernels.jit import kernel
from distgrad.kernels.scalars import least
from distgrad.kernels.triangular import LARGEST, are_small, stack
from distgrad.ops.linalg import T
from distgrad.ops.lu_factors import lu_gradient


def solve(a: Array, b: Array) -> OpResult | None:
    """The twin of ``ops.solve`` for small matrices, one for each right side."""
    if type(b) is not np.ndarray or not are_small(a, b):
        return None
    factors = _factored(a)
    if factors is None:
        return None
    x = np.array(b, order="C")
    _solve(*factors, stack(x))

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, Array]:
        gb = np.array(g, order="C")
        _solve_transposed(*factors, stack(gb))
        return -np.matmul(gb, T(x)) if wanted[0] else None, gb

    return x, Joint(vjp)


def inv(a: Array) -> OpResult | None:
    """The twin of ``ops.inv`` for small matrices."""
    factors = _factored(a) if are_small(a) else None
    if factors is None:
        return None
    y = np.zeros(a.shape, a.dtype)
    _diagonal(y)[...] = 1
    _solve(*factors, stack(y))
    return y, lambda g: -np.matmul(np.matmul(T(y), g), T(y))


def det(a: Array) -> OpResult | None:
    """The twin of ``ops.det`` for small regular matrices."""
    factors = _factored(a) if are_small(a) else None
    if factors is None:
        return None
    y = np.empty(a.shape[:-2], a.dtype)
    _product(*factors, y.reshape(-1))
    if np.count_nonzero(y) != y.size:
        return None  # it was too small for the dtype
    shape = a.shape

    def vjp(g: Array) -> Array:
        d = np.zeros(shape, y.dtype)
        _diagonal(d)[...] = np.expand_dims(g * y, -1)
        _solve_transposed(*factors, stack(d))
        return d

    return y, vjp


def slogdet(a: Array) -> OpResults | None:
    """The twin of ``ops.slogdet`` for small regular matrices."""
    factors = _factored(a) if are_small(a) else None
    if factors is None:
        return None
    sign, log = np.empty(a.shape[:-2], a.dtype), np.empty(a.shape[:-2], a.dtype)
    pivots = _diagonal(factors[0])
    _signs_and_sums(*factors, np.log(np.abs(pivots)), sign.reshape(-1), log.reshape(-1))
    if np.isinf(log).any():
        return None
    shape, dtype = a.shape, a.dtype

    def vjp(_: Array | None, g: Array | None) -> Array:  # the sign is constant
        d = np.zeros(shape, dtype)
        if g is not None:
            _diagonal(d)[...] = np.expand_dims(g, -1)
            _solve_transposed(*factors, stack(d))
        return d

    return (sign, log), vjp


def lu_factor(a: Array) -> OpResults | None:
    """The twin of ``ops.lu_factor`` for small matrices."""
    if type(a) is not np.ndarray or not suits(a) or a.ndim < 2 or max(a.shape[-2:]) > LARGEST:
        return None
    m, n = a.shape[-2:]
    y = np.array(a, order="C")
    pivots = np.empty((*a.shape[:-2], min(m, n)), np.int64)
    _eliminate(stack(y), pivots.reshape(-1, min(m, n)))

    def vjp(g: Array, _: None) -> Any:
        return lu_gradient(g, y, row_order(pivots, m))

    return (y, pivots), vjp


def row_order(pivots: Array, rows: int) -> Array:
    """The rows in the order that ``pivots`` bring them in: (…, rows)."""
    order = np.empty((*pivots.shape[:-1], rows), np.int64)
    _order(np.ascontiguousarray(pivots).reshape(-1, pivots.shape[-1]), order.reshape(-1, rows))
    return order


@kernel
def _order(pivots: Array, order: Array) -> None:
    for i in range(order.shape[0]):
        for j in range(order.shape[1]):
            order[i, j] = j
        for j in range(pivots.shape[1]):
            k = pivots[i, j]
            order[i, j], order[i, k] = order[i, k], order[i, j]


def lu_unpack(y: Array) -> OpResults | None:
    """The twin of ``ops.lu_unpack``."""
    if type(y) is not np.ndarray or not suits(y) or y.ndim < 2:
        return None
    front, (m, n), k = y.shape[:-2], y.shape[-2:], min(y.shape[-2:])
    L, U = np.empty((*front, m, k), y.dtype), np.empty((*front, k, n), y.dtype)
    _unpack(stack(y), stack(L), stack(U))
    shape, dtype = y.shape, y.dtype

    def vjp(gL: Array | None, gU: Array | None) -> Array:
        g = np.empty(shape, dtype)
        lower = np.zeros((*front, m, k), dtype) if gL is None else gL
        upper = np.zeros((*front, k, n), dtype) if gU is None else gU
        _pack(stack(lower), stack(upper), stack(g))
        return g

    return (L, U), vjp


@kernel
def _unpack(y: Array, lower: Array, upper: Array) -> None:
    zero, one, k = y.dtype.type(0), y.dtype.type(1), lower.shape[2]
    for i in range(y.shape[0]):
        for r in range(y.shape[1]):
            for c in range(k):
                lower[i, r, c] = y[i, r, c] if c < r else (one if c == r else zero)
        for r in range(k):
            for c in range(y.shape[2]):
                upper[i, r, c] = y[i, r, c] if c >= r else zero


@kernel
def _pack(lower: Array, upper: Array, y: Array) -> None:
    for i in range(y.shape[0]):
        for r in range(y.shape[1]):
            for c in range(least(r, lower.shape[2])):
                y[i, r, c] = lower[i, r, c]
            for c in range(r, y.shape[2]):
                y[i, r, c] = upper[i, r, c]


def _diagonal(a: Array) -> Array:
    view: Array = np.einsum("...ii->...i", a)
    return view


def _factored(a: Array) -> tuple[Array, Array] | None:
    """Return triangles and exchanged rows; None where one is singular: the reference says which."""
    lu = np.array(a, order="C").reshape(-1, *a.shape[-2:])
    rows = np.empty(lu.shape[:2], np.int64)
    return (lu, rows) if _eliminate(lu, rows) else None


@kernel
def _eliminate(a: Array, rows: Array) -> Any:
    n, width, one, regular = a.shape[1], a.shape[2], a.dtype.type(1), True
    for m in range(a.shape[0]):
        for i in range(rows.shape[1]):
            best, top = i, abs(a[m, i, i])
            for k in range(i + 1, n):
                v = abs(a[m, k, i])
                if v > top:
                    best, top = k, v
            rows[m, i] = best
            if best != i:
                for j in range(width):
                    a[m, i, j], a[m, best, j] = a[m, best, j], a[m, i, j]
            d = a[m, i, i]
            regular &= d != 0
            if d == 0:
                d = one  # zeros all below a zero
            for k in range(i + 1, n):
                f = a[m, k, i] / d
                a[m, k, i] = f
                for j in range(i + 1, width):
                    a[m, k, j] -= f * a[m, i, j]
    return regular


@kernel
def _solve(lu: Array, rows: Array, x: Array) -> None:
    n, width = lu.shape[1], x.shape[2]
    for m in range(lu.shape[0]):
        for i in range(n):
            k = rows[m, i]
            if k != i:
                for c in range(width):
                    x[m, i, c], x[m, k, c] = x[m, k, c], x[m, i, c]
        for i in range(1, n):
            for j in range(i):
                f = lu[m, i, j]
                for c in range(width):
                    x[m, i, c] -= f * x[m, j, c]
        for s in range(n):
            i = n - 1 - s
            for j in range(i + 1, n):
                f = lu[m, i, j]
                for c in range(width):
                    x[m, i, c] -= f * x[m, j, c]
            d = lu[m, i, i]
            for c in range(width):
                x[m, i, c] /= d


@kernel
def _solve_transposed(lu: Array, rows: Array, x: Array) -> None:
    n, width = lu.shape[1], x.shape[2]
    for m in range(lu.shape[0]):
        for i in range(n):
            d = lu[m, i, i]
            for c in range(width):
                x[m, i, c] /= d
            for j in range(i + 1, n):
                f = lu[m, i, j]
                for c in range(width):
                    x[m, j, c] -= f * x[m, i, c]
        for s in range(n):
            i = n - 1 - s
            for j in range(i):
                f = lu[m, i, j]
                for c in range(width):
                    x[m, j, c] -= f * x[m, i, c]
        for s in range(n):
            i = n - 1 - s
            k = rows[m, i]
            if k != i:
                for c in range(width):
                    x[m, i, c], x[m, k, c] = x[m, k, c], x[m, i, c]


@kernel
def _product(lu: Array, rows: Array, y: Array) -> None:
    for m in range(lu.shape[0]):
        total = y.dtype.type(1)
        for i in range(lu.shape[1]):
            total *= lu[m, i, i] if rows[m, i] == i else -lu[m, i, i]
        y[m] = total


@kernel
def _signs_and_sums(lu: Array, rows: Array, logs: Array, sign: Array, total: Array) -> None:
    one = sign.dtype.type(1)
    for m in range(lu.shape[0]):
        product, log = one, total.dtype.type(0)
        for i in range(lu.shape[1]):
            if (lu[m, i, i] < 0) != (rows[m, i] != i):
                product = -product
            log += logs[m, i]
        sign[m], total[m] = product, log
