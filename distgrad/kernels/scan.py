"""Twins of running sums and products along an axis, and of the product over axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Axis
from distgrad.kernels.along import beside, counted, neighbours
from distgrad.kernels.arrays import Scalar, dense, empty, on_forms, run
from distgrad.kernels.jit import inlined, kernel
from distgrad.kernels.scalars import empty_of


@on_forms
def cumsum(a: Array, *, axis: int) -> OpResult | None:
    """The twin of ``ops.cumsum``."""
    along = counted(axis, a)
    if along is None:
        return None

    def summed(x: Array, function: Callable[..., None]) -> Array:
        y = empty(x, x.shape)
        run(function, beside(x, along), beside(y, along), writes=(1,))
        return y

    return summed(a, _sums), lambda g: summed(g, _sums_back)


@kernel
def _sums(x: Array, y: Array) -> None:
    for i in range(x.shape[0]):
        if x.shape[2] == 1:
            total = x.dtype.type(0)
            for k in range(x.shape[1]):
                total += x[i, k, 0]
                y[i, k, 0] = total
        else:
            for j in range(x.shape[2]):
                y[i, 0, j] = x[i, 0, j]
            for k in range(1, x.shape[1]):
                for j in range(x.shape[2]):
                    y[i, k, j] = y[i, k - 1, j] + x[i, k, j]


@kernel
def _sums_back(g: Array, d: Array) -> None:
    last = g.shape[1] - 1
    for i in range(g.shape[0]):
        if g.shape[2] == 1:
            total = g.dtype.type(0)
            for k in range(last, -1, -1):
                total += g[i, k, 0]
                d[i, k, 0] = total
        else:
            for j in range(g.shape[2]):
                d[i, last, j] = g[i, last, j]
            for k in range(last - 1, -1, -1):
                for j in range(g.shape[2]):
                    d[i, k, j] = d[i, k + 1, j] + g[i, k, j]


@on_forms
def cumprod(a: Array, *, axis: int) -> OpResult | None:
    """The twin of ``ops.cumprod``."""
    along = counted(axis, a)
    if along is None:
        return None
    x, y = beside(a, along), empty(a, a.shape)
    products = beside(y, along)
    run(_products, x, products, writes=(1,))

    def vjp(g: Array) -> Array:
        d = empty(g, g.shape)
        run(_products_back, beside(g, along), x, products, beside(d, along), writes=(3,))
        return d

    return y, vjp


@kernel
def _products(x: Array, y: Array) -> None:
    for i in range(x.shape[0]):
        if x.shape[2] == 1:
            total = x.dtype.type(1)
            for k in range(x.shape[1]):
                total *= x[i, k, 0]
                y[i, k, 0] = total
            continue
        for j in range(x.shape[2]):
            y[i, 0, j] = x[i, 0, j]
        for k in range(1, x.shape[1]):
            for j in range(x.shape[2]):
                y[i, k, j] = y[i, k - 1, j] * x[i, k, j]


@kernel
def _products_back(g: Array, x: Array, y: Array, d: Array) -> None:
    # s_k = g_k + x_(k+1) s_(k+1), d_k = y_(k-1) s_k: no division.
    last = g.shape[1] - 1
    for i in range(g.shape[0]):
        if g.shape[2] == 1:
            s = g[i, last, 0]
            for k in range(last, 0, -1):
                d[i, k, 0] = s * y[i, k - 1, 0]
                s = g[i, k - 1, 0] + x[i, k, 0] * s
            d[i, 0, 0] = s
            continue
        for j in range(g.shape[2]):
            d[i, last, j] = g[i, last, j]
        for k in range(last - 1, -1, -1):
            for j in range(g.shape[2]):
                d[i, k, j] = g[i, k, j] + x[i, k + 1, j] * d[i, k + 1, j]
        for k in range(last, 0, -1):
            for j in range(g.shape[2]):
                d[i, k, j] *= y[i, k - 1, j]


@on_forms
def prod(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult | None:
    """The twin of ``ops.prod`` over neighbouring axes."""
    axes = neighbours(axis, a)
    if axes is None:
        return None
    first, end = axes
    if a.flags.f_contiguous and not a.flags.c_contiguous:  # read as it lies
        y, vjp = _prod(a.T, a.ndim - end, a.ndim - first, keepdims)
        return y.T, lambda g: vjp(g.T).T
    return _prod(a, first, end, keepdims)


def _prod(a: Array, first: int, end: int, keepdims: bool) -> tuple[Array, Callable[[Array], Array]]:
    shape, dtype = a.shape, a.dtype
    x = dense(a).reshape(
        math.prod(shape[:first]), math.prod(shape[first:end]), math.prod(shape[end:])
    )
    y = empty(a, (x.shape[0], x.shape[2]))
    run(_product, x, y, writes=(1,))
    ones = (1,) * (end - first) if keepdims else ()

    def vjp(g: Array) -> Array:
        d, least = empty(x, shape), _LEAST[dtype]
        gs = dense(g).reshape(y.shape)
        if x.shape[2] == 1:
            rows = x.shape[:2]
            run(_product_back_rows, gs, x.reshape(rows), y, least, d.reshape(rows), writes=(4,))
        else:
            run(_product_back, gs, x, y, least, d.reshape(x.shape), writes=(4,))
        return d

    return y.reshape(shape[:first] + ones + shape[end:]), vjp


@kernel
def _product(x: Array, y: Array) -> None:
    for i in range(x.shape[0]):
        if x.shape[2] == 1:
            total = x.dtype.type(1)
            for k in range(x.shape[1]):
                total *= x[i, k, 0]
            y[i, 0] = total
        else:
            for j in range(x.shape[2]):
                y[i, j] = x[i, 0, j]
            for k in range(1, x.shape[1]):
                for j in range(x.shape[2]):
                    y[i, j] *= x[i, k, j]


_WIDTH, _LONG = 256, 4096
_LEAST = {np.dtype(t): t(np.finfo(t).tiny) for t in (np.float32, np.float64)}


@inlined
def _others(y: Scalar, x: Scalar) -> Scalar:
    return y / x


@kernel
def _product_back(g: Array, x: Array, y: Array, least: Scalar, d: Array) -> None:
    for i in range(x.shape[0]):
        plain = True
        for j in range(x.shape[2]):
            size = abs(y[i, j])
            plain &= (size >= least) & (size < np.inf)
        if plain:
            for k in range(x.shape[1]):
                for j in range(x.shape[2]):
                    d[i, k, j] = g[i, j] * _others(y[i, j], x[i, k, j])
        else:
            _without_own(g[i], x[i], d[i])


@kernel
def _without_own(g: Array, x: Array, d: Array) -> None:
    # The product of those before, then of those after: zeros have the right gradient too.
    last, after = x.shape[0] - 1, empty_of(x.shape[1], x.dtype)
    for j in range(x.shape[1]):
        d[0, j] = g[j]
        after[j] = x[last, j]
    for k in range(1, last + 1):
        for j in range(x.shape[1]):
            d[k, j] = d[k - 1, j] * x[k - 1, j]
    for k in range(last - 1, -1, -1):
        for j in range(x.shape[1]):
            d[k, j] *= after[j]
            after[j] *= x[k, j]


@kernel
def _product_back_rows(g: Array, x: Array, y: Array, least: Scalar, d: Array) -> None:
    n = x.shape[1]
    rest = n % _WIDTH if n >= _LONG else n
    wide = n - rest
    products, others = empty_of(_WIDTH, x.dtype), empty_of(_WIDTH, x.dtype)
    for i in range(x.shape[0]):
        size = abs(y[i, 0])
        if (size >= least) & (size < np.inf):
            for k in range(n):
                d[i, k] = g[i, 0] * _others(y[i, 0], x[i, k])
            continue
        # A long row is columns side by side, whose chains of products do not wait for another.
        whole = g[i, 0]
        if wide:
            block = x[i, :wide].reshape(wide // _WIDTH, _WIDTH)
            products[:] = x.dtype.type(1)
            for k in range(block.shape[0]):
                for j in range(_WIDTH):
                    products[j] *= block[k, j]
            for k in range(wide, n):
                whole *= x[i, k]
            _chain(whole, products, others)
            _without_own(others, block, d[i, :wide].reshape(block.shape))
            whole = g[i, 0]
            for j in range(_WIDTH):
                whole *= products[j]
        _chain(whole, x[i, wide:], d[i, wide:])


@kernel
def _chain(g: Scalar, x: Array, d: Array) -> None:
    before, rest = g, x.dtype.type(1)
    for k in range(x.size):
        d[k] = before
        before *= x[k]
    for k in range(x.size - 1, -1, -1):
        d[k] *= rest
        rest *= x[k]
