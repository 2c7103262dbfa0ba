"""Twins of what has one number for a channel or a row, and of triangles."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels import pairs
from distgrad.kernels.arrays import dense, suits
from distgrad.kernels.gapped import product
from distgrad.kernels.jit import kernel
from distgrad.kernels.scalars import least, most


def outer_product(a: Array, b: Array) -> OpResult | None:
    """The twin of ``ops.outer_product``."""
    if not suits(a, b) or a.size * b.size < _MANY:
        return None
    y = product(a[:, None], b[None])
    return y, (lambda g: np.matmul(g, b), lambda g: np.matmul(a, g))


_MANY = 1 << 15
"""Elements: of fewer NumPy is as fast."""


def prelu(a: Array, weight: Array) -> OpResult | None:
    """The twin of ``ops.prelu`` with one weight, one for each channel (axis 1) or each element."""
    if not suits(a) or not isinstance(weight, np.ndarray) or not suits(a, weight):
        return None
    if weight.shape == a.shape:
        return pairs.prelu(a, weight)
    channels = weight.size
    axes = weight.ndim
    if channels > 1 and (
        a.ndim < 2 or axes != a.ndim - 1 or weight.shape[0] != a.shape[1] or channels != a.shape[1]
    ):
        return None
    if axes > a.ndim:
        return None
    rest = math.prod(a.shape[2:]) if channels > 1 else a.size
    planes, w = dense(a).reshape(-1, channels, rest), dense(weight).reshape(-1)
    shape, dtype, of_weight = a.shape, a.dtype, weight.shape
    y = np.empty(shape, dtype)
    _leaky(planes, w, y.reshape(planes.shape))

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        d, dw = np.empty(shape, dtype), np.zeros(channels, np.float64)
        _leaky_back(dense(g).reshape(planes.shape), planes, w, d.reshape(planes.shape), dw)
        return d, dw.astype(dtype).reshape(of_weight)

    return y, Joint(vjp)


@kernel
def _leaky(x: Array, w: Array, y: Array) -> None:
    zero = x.dtype.type(0)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            s = w[c]
            for k in range(x.shape[2]):
                v = x[n, c, k]
                y[n, c, k] = v if v > zero else s * v


@kernel
def _leaky_back(g: Array, x: Array, w: Array, d: Array, dw: Array) -> None:
    zero = x.dtype.type(0)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            s = w[c]
            for begin in range(0, x.shape[2], 512):
                gs, xs = g[n, c, begin : begin + 512], x[n, c, begin : begin + 512]
                ds, part = d[n, c, begin : begin + 512], zero
                # One loop of both would have a branch that no processor foresees.
                for k in range(xs.size):
                    ds[k] = gs[k] if xs[k] > zero else s * gs[k]
                for k in range(xs.size):
                    part += zero if xs[k] > zero else gs[k] * xs[k]
                dw[c] += part


def tril(a: Array, *, k: int = 0) -> OpResult | None:
    """The twin of ``ops.tril``."""
    return _triangle(a, k, _lower)


def triu(a: Array, *, k: int = 0) -> OpResult | None:
    """The twin of ``ops.triu``."""
    return _triangle(a, k, _upper)


def _triangle(a: Array, k: int, copy: Callable[..., None]) -> OpResult | None:
    if not suits(a) or a.ndim < 2 or type(k) is not int:
        return None

    def cut(x: Array) -> Array:
        y = np.empty(x.shape, x.dtype)
        copy(dense(x).reshape(-1, *x.shape[-2:]), k, y.reshape(-1, *x.shape[-2:]))
        return y

    return cut(a), cut


@kernel
def _lower(x: Array, k: int, y: Array) -> None:
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            cut = least(most(i + k + 1, 0), x.shape[2])
            _copy(x[n, i, :cut], y[n, i, :cut])
            _clear(y[n, i, cut:])


@kernel
def _upper(x: Array, k: int, y: Array) -> None:
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            cut = least(most(i + k, 0), x.shape[2])
            _clear(y[n, i, :cut])
            _copy(x[n, i, cut:], y[n, i, cut:])


# From 0 on: an index that begins elsewhere may be negative for all the compiler knows, and such a
# loop goes element by element.
@kernel
def _copy(x: Array, y: Array) -> None:
    for j in range(x.size):
        y[j] = x[j]


@kernel
def _clear(y: Array) -> None:
    for j in range(y.size):
        y[j] = 0
