"""Twins of dropout, of elements and of whole channels, and of gated linear units."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import (
    Scalar,
    blank,
    dense,
    empty,
    in_memory,
    in_order,
    on_forms,
    run,
    suits,
)
from distgrad.kernels.jit import kernel
from distgrad.kernels.mathematics import sigmoid
from distgrad.kernels.scalars import empty_of
from distgrad.kernels.turned import as_it_lies, lying
from distgrad.ops.activation import alpha_levels


def dropout(a: Array, keep: Array, *, p: float) -> OpResult | None:
    """The twin of ``ops.dropout``."""
    return _masked(a, keep, 1 / (1 - p) if p < 1 else 0.0, 0.0, 0.0)


def alpha_dropout(a: Array, keep: Array, *, p: float) -> OpResult | None:
    """The twin of ``ops.alpha_dropout``."""
    return _masked(a, keep, *alpha_levels(p))


def _masked(a: Array, keep: Array, scale: float, shift: float, floor: float) -> OpResult | None:
    """Return scale · a + shift where ``keep`` holds, else ``floor``: 0 for dropout, but for NaN."""
    if not suits(a) or type(keep) is not np.ndarray or keep.dtype != np.bool_:
        return None
    F, shape = a.dtype.type, a.shape
    levels = F(scale), F(shift), F(floor)
    if keep.shape == shape:
        x, order = in_memory(a)
        mask = in_order(keep, order)
        y, row = blank(a, shape, order)
        kept(x, mask, *levels, row)

        def vjp(g: Array) -> Array:
            d, row = blank(g, shape, order)
            kept(in_order(g, order), mask, F(scale), F(0), F(0), row)
            return d

        return y, (vjp, None)
    planes = _planes(shape, keep.shape)
    # Whole channels of what lies in another order: NumPy keeps it.
    if planes is None or (shift == floor == 0 and lying(a) is not None):
        return None
    each, flags = (planes, a.size // planes), dense(keep).reshape(-1)
    y = np.empty(shape, a.dtype)
    _channels(dense(a).reshape(each), flags, *levels, y.reshape(each))

    def of_channels(g: Array) -> Array:
        d = np.empty(shape, g.dtype)
        _channels(dense(g).reshape(each), flags, F(scale), F(0), F(0), d.reshape(each))
        return d

    return y, (of_channels, None)


def _planes(shape: tuple[int, ...], mask: tuple[int, ...]) -> int | None:
    """Return how many planes of ``shape`` have one flag each; None if ``mask`` is no such mask."""
    if len(mask) != len(shape):
        return None
    axes = len(mask)
    while axes and mask[axes - 1] == 1:
        axes -= 1
    return math.prod(mask) if mask[:axes] == shape[:axes] else None


@kernel
def kept(a: Array, mask: Array, scale: Scalar, shift: Scalar, floor: Scalar, y: Array) -> None:
    """Scale and shift what the mask keeps; the rest is ``floor``, or times zero if that is 0."""
    zero = y.dtype.type(0)
    if shift == zero and floor == zero:
        for i in range(y.size):
            y[i] = a[i] * (scale if mask[i] else zero)  # NaN stays
        return
    for i in range(y.size):
        y[i] = a[i] * scale + shift if mask[i] else floor


@kernel
def _channels(a: Array, mask: Array, scale: Scalar, shift: Scalar, floor: Scalar, y: Array) -> None:
    zero = y.dtype.type(0)
    for i in range(a.shape[0]):
        if mask[i]:
            for k in range(a.shape[1]):
                y[i, k] = a[i, k] * scale + shift
        elif shift == zero and floor == zero:
            for k in range(a.shape[1]):
                y[i, k] = a[i, k] * zero  # NaN stays
        else:
            for k in range(a.shape[1]):
                y[i, k] = floor


@on_forms
@as_it_lies
def glu(a: Array, *, axis: int) -> OpResult | None:
    """The twin of ``ops.glu``."""
    if not suits(a) or type(axis) is not int or not -a.ndim <= axis < a.ndim or a.shape[axis] % 2:
        return None
    along, shape = axis % a.ndim, a.shape
    half = a.size // math.prod(shape[:along]) // 2
    x = dense(a).reshape(-1, 2, half)
    y = empty(a, (*shape[:along], shape[along] // 2, *shape[along + 1 :]))
    run(_gated, x, y.reshape(-1, half), writes=(1,))

    def vjp(g: Array) -> Array:
        d = empty(x, shape)
        run(_gated_back, dense(g).reshape(-1, half), x, d.reshape(-1, 2, half), writes=(2,))
        return d

    return y, vjp


@kernel
def _gated(x: Array, y: Array) -> None:
    for i in range(x.shape[0]):
        a, b, to = x[i, 0], x[i, 1], y[i]
        for k in range(to.size):
            to[k] = a[k] * sigmoid(b[k])


@kernel
def _gated_back(g: Array, x: Array, d: Array) -> None:
    # In loops of few arrays: of many the compiler does not look whether they overlap.
    one, gate = x.dtype.type(1), empty_of(_SHORT, x.dtype)
    for i in range(x.shape[0]):
        for begin in range(0, x.shape[2], _SHORT):
            part = slice(begin, begin + _SHORT)
            a, b, here = x[i, 0, part], x[i, 1, part], g[i, part]
            to_a, to_b = d[i, 0, part], d[i, 1, part]
            for k in range(b.size):
                gate[k] = sigmoid(b[k])
            for k in range(to_a.size):
                to_a[k] = here[k] * gate[k]
            for k in range(to_b.size):
                to_b[k] = here[k] * a[k] * gate[k] * (one - gate[k])


_SHORT = 512
