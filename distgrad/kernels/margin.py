"""Twins of cosines and of the hinge losses of several classes, a row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.tensor import TensorLike
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import Scalar, dense, flat, suits
from distgrad.kernels.jit import kernel
from distgrad.kernels.scalars import empty_of
from distgrad.ops.helpers import data_of
from distgrad.ops.margin import classes_of
from distgrad.ops.reduction import check_reduction, reduced, share

_BLOCK = 512


def cosine(
    a: Array, b: Array, *, axis: int, eps: float = 0.0, tiny: float = 0.0
) -> OpResult | None:
    """The twin of ``ops.cosine`` along the last axis."""
    if not suits(a, b) or a.shape != b.shape or axis not in (-1, a.ndim - 1):
        return None
    shape, dtype = a.shape, a.dtype
    rows = a.size // shape[-1], shape[-1]
    x, z = dense(a).reshape(rows), dense(b).reshape(rows)
    y, lengths = np.empty(shape[:-1], dtype), np.empty((2, rows[0]), dtype)
    _cosine(x, z, dtype.type(eps), float(tiny), y.reshape(-1), lengths)

    def to_a(g: Array) -> Array:
        d = np.empty(shape, dtype)
        _cosine_back(flat(g), x, z, lengths[0], lengths[1], dtype.type(eps), y.reshape(-1),
                     d.reshape(rows))  # fmt: skip
        return d

    def to_b(g: Array) -> Array:
        d = np.empty(shape, dtype)
        _cosine_back(flat(g), z, x, lengths[1], lengths[0], dtype.type(eps), y.reshape(-1),
                     d.reshape(rows))  # fmt: skip
        return d

    return y, (to_a, to_b)


@kernel
def _cosine(a: Array, b: Array, eps: Scalar, tiny: float, y: Array, lengths: Array) -> None:
    # A block is summed in its own dtype, blocks in float64.
    for i in range(a.shape[0]):
        aa, bb, ab = tiny, tiny, 0.0
        for begin in range(0, a.shape[1], _BLOCK):
            p, q = a[i, begin : begin + _BLOCK], b[i, begin : begin + _BLOCK]
            pp = qq = pq = a.dtype.type(0)
            for k in range(p.size):
                pp += p[k] * p[k]
                qq += q[k] * q[k]
                pq += p[k] * q[k]
            aa += pp
            bb += qq
            ab += pq
        first, second = a.dtype.type(np.sqrt(aa)), a.dtype.type(np.sqrt(bb))
        # Lengths below eps are kept as they are: the way back asks.
        lengths[0, i], lengths[1, i] = first, second
        first = eps if first < eps else first
        second = eps if second < eps else second
        y[i] = ab / first / second


@kernel
def _cosine_back(
    g: Array, x: Array, z: Array, own: Array, other: Array, eps: Scalar, y: Array, d: Array
) -> None:
    zero = x.dtype.type(0)
    for i in range(x.shape[0]):
        mine = eps if own[i] < eps else own[i]
        theirs = eps if other[i] < eps else other[i]
        across = g[i] / mine / theirs
        along = zero if own[i] < eps else g[i] * y[i] / mine / mine
        for k in range(x.shape[1]):
            d[i, k] = across * z[i, k] - along * x[i, k]


def multi_margin(
    x: Array,
    labels: TensorLike,
    *,
    p: int = 1,
    margin: float = 1.0,
    weight: TensorLike | None = None,
    reduction: str = "mean",
) -> OpResult | None:
    """The twin of ``ops.multi_margin`` without weights of classes."""
    if weight is not None or not suits(x) or x.ndim != 2:
        return None
    n, c = x.shape
    y = classes_of("multi_margin_loss", labels, (n,), c).astype(np.int64)
    loss, slope = np.empty(n, x.dtype), np.empty((n, c), x.dtype)
    _multi_margin(dense(x), y, p, x.dtype.type(margin), loss, slope)
    return _per_row(loss, slope, reduction)


@kernel
def _multi_margin(
    x: Array, labels: Array, p: int, margin: Scalar, loss: Array, slope: Array
) -> None:
    zero, one, two = x.dtype.type(0), x.dtype.type(1), x.dtype.type(2)
    share_of_one = one / x.dtype.type(x.shape[1])
    for i in range(x.shape[0]):
        label = labels[i]
        shift, whole, slopes = margin - x[i, label], zero, zero
        for begin, end in ((0, label), (label + 1, x.shape[1])):
            row, d = x[i, begin:end], slope[i, begin:end]
            total = back = zero
            for k in range(row.size):
                z = shift + row[k]
                excess = zero if z <= zero else z  # NaN stays
                total += excess if p == 1 else excess * excess
                s = (one if z > zero else zero) if p == 1 else two * excess
                d[k] = s * share_of_one
                back += s
            whole += total
            slopes += back
        loss[i] = whole * share_of_one
        slope[i, label] = -slopes * share_of_one


def multilabel_margin(x: Array, labels: TensorLike, *, reduction: str = "mean") -> OpResult | None:
    """The twin of ``ops.multilabel_margin``."""
    given = data_of(labels)
    if not suits(x) or x.ndim != 2 or type(given) is not np.ndarray or given.dtype.kind != "i":
        return None
    if given.shape != x.shape:
        return None
    loss, slope = np.empty(len(x), x.dtype), np.empty(x.shape, x.dtype)
    if not _multilabel_margin(dense(x), dense(given.astype(np.int64)), loss, slope):
        return None  # a label out of range: the reference names it
    return _per_row(loss, slope, reduction)


@kernel
def _multilabel_margin(x: Array, labels: Array, loss: Array, slope: Array) -> bool:
    zero, one, c = x.dtype.type(0), x.dtype.type(1), x.shape[1]
    share_of_one = one / x.dtype.type(c)
    others, steps = empty_of(c, x.dtype), empty_of(c, x.dtype)
    places, free = empty_of(c, np.int64), empty_of(c, np.bool_)
    for i in range(x.shape[0]):
        free[:] = True
        end = 0
        while end < c and labels[i, end] != -1:
            label = labels[i, end]
            if not 0 <= label < c:
                return False
            free[label] = False
            end += 1
        # The others in a row: a label is compared with all of them at once.
        count = 0
        for k in range(c):
            slope[i, k] = zero
            if free[k]:
                places[count], others[count], steps[count] = k, x[i, k], zero
                count += 1
        row, step, whole = others[:count], steps[:count], 0.0
        for at in range(end):
            label = labels[i, at]
            shift, total, back = one - x[i, label], zero, zero
            for k in range(row.size):
                z = shift + row[k]
                total += zero if z <= zero else z  # NaN stays
                s = one if z > zero else zero
                step[k] += s
                back += s
            whole += total
            slope[i, label] -= back
        for k in range(count):
            slope[i, places[k]] = step[k]
        for k in range(c):
            slope[i, k] *= share_of_one
        loss[i] = whole / c
    return True


def _per_row(loss: Array, slope: Array, reduction: str) -> OpResult:
    """Return the losses of rows, reduced, and the gradient: their slopes times the rows' share."""
    check_reduction(reduction)
    scale = share(loss.size if reduction == "mean" else 1, loss.dtype)

    def vjp(g: Array) -> Any:
        return np.multiply(slope, np.reshape(g * scale, (-1, 1)))

    return np.asarray(reduced(loss, reduction, scale)), (vjp, None)
