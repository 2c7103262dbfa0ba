"""Twins of running sums and products along an axis, and of the product over axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Axis
from distgrad.kernels.along import beside, counted, neighbours
from distgrad.kernels.arrays import dense
from distgrad.kernels.jit import kernel


def cumsum(a: Array, *, axis: int) -> OpResult | None:
    """The twin of ``ops.cumsum``."""
    along = counted(axis, a)
    if along is None:
        return None

    def run(x: Array, function: Callable[..., None]) -> Array:
        y = np.empty(x.shape, x.dtype)
        function(beside(x, along), beside(y, along))
        return y

    return run(a, _sums), lambda g: run(g, _sums_back)


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


def cumprod(a: Array, *, axis: int) -> OpResult | None:
    """The twin of ``ops.cumprod``."""
    along = counted(axis, a)
    if along is None:
        return None
    x, y = beside(a, along), np.empty(a.shape, a.dtype)
    products = beside(y, along)
    _products(x, products)

    def vjp(g: Array) -> Array:
        d = np.empty(g.shape, g.dtype)
        _products_back(beside(g, along), x, products, beside(d, along))
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


def prod(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult | None:
    """The twin of ``ops.prod`` over neighbouring axes."""
    axes = neighbours(axis, a)
    if axes is None:
        return None
    shape, dtype, (first, end) = a.shape, a.dtype, axes
    x = dense(a).reshape(
        math.prod(shape[:first]), math.prod(shape[first:end]), math.prod(shape[end:])
    )
    form = x.shape[0], x.shape[2]
    y = np.empty(form, dtype)
    _product(x, y)
    ones = (1,) * (end - first) if keepdims else ()
    value = y.reshape(shape[:first] + ones + shape[end:])

    def vjp(g: Array) -> Array:
        d = np.empty(shape, dtype)
        _product_back(dense(np.asarray(g)).reshape(form), x, d.reshape(x.shape))
        return d

    return value, vjp


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


@kernel
def _product_back(g: Array, x: Array, d: Array) -> None:
    # The product of those before, then of those after: zeros have the right gradient too.
    last = x.shape[1] - 1
    after = np.empty(x.shape[2], x.dtype)
    for i in range(x.shape[0]):
        if x.shape[2] == 1:
            before = g[i, 0]
            for k in range(last + 1):
                d[i, k, 0] = before
                before *= x[i, k, 0]
            rest = x.dtype.type(1)
            for k in range(last, -1, -1):
                d[i, k, 0] *= rest
                rest *= x[i, k, 0]
            continue
        for j in range(x.shape[2]):
            d[i, 0, j] = g[i, j]
            after[j] = x[i, last, j]
        for k in range(1, last + 1):
            for j in range(x.shape[2]):
                d[i, k, j] = d[i, k - 1, j] * x[i, k - 1, j]
        for k in range(last - 1, -1, -1):
            for j in range(x.shape[2]):
                d[i, k, j] *= after[j]
                after[j] *= x[i, k, j]
