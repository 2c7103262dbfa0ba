"""Twins of softmax, its logarithm and cross-entropy, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.tensor import TensorLike
from distgrad.autograd.types import Array
from distgrad.kernels.along import beside, counted
from distgrad.kernels.arrays import Scalar, dense, empty, flat, on_forms, run, suits
from distgrad.kernels.jit import inlined, kernel
from distgrad.kernels.mathematics import exp
from distgrad.kernels.scalars import empty_of, most, ravel
from distgrad.kernels.turned import as_it_lies
from distgrad.kernels.vectors import BYTES, larger, largest, load
from distgrad.ops.helpers import integers
from distgrad.ops.reduction import check_reduction, reduced, share
from distgrad.ops.softmax import check_labels


@on_forms
@as_it_lies
def softmax(a: Array, *, axis: int) -> OpResult | None:
    """The twin of ``ops.softmax``."""
    return _over_rows(a, axis, _softmax, _softmax_back) or _over_columns(
        a, axis, _softmax_columns, _softmax_columns_back
    )


def _over_rows(
    a: Array, axis: int, forward: Callable[..., None], back: Callable[..., None]
) -> OpResult | None:
    """Run ``forward(a, y)`` and ``back(g, y, d)`` on the rows along the last axis."""
    if not suits(a) or a.ndim == 0 or axis not in (-1, a.ndim - 1):
        return None
    shape = a.shape
    y = empty(a, shape)
    rows = y.reshape(-1, shape[-1])
    run(forward, dense(a).reshape(rows.shape), rows, writes=(1,))

    def vjp(g: Array) -> Array:
        d = empty(y, shape)
        run(back, dense(g).reshape(rows.shape), rows, d.reshape(rows.shape), writes=(2,))
        return d

    return y, vjp


def _over_columns(
    a: Array, axis: int, forward: Callable[..., None], back: Callable[..., None]
) -> OpResult | None:
    """Run them on (outer, n, inner) along the middle axis, inner ones side by side."""
    along = counted(axis, a)
    if along is None:
        return None
    shape = a.shape
    y = empty(a, shape)
    run(forward, beside(a, along), beside(y, along), writes=(1,))

    def vjp(g: Array) -> Array:
        d = empty(y, shape)
        run(back, beside(g, along), beside(y, along), beside(d, along), writes=(2,))
        return d

    return y, vjp


@inlined
def _largest(a: Array, at: int, n: int) -> Any:
    """Return the largest of ``n`` numbers; NaN is passed over (and comes back from ``exp``).

    LLVM takes one number at a time, as it does not know that.
    """
    w, top = BYTES // a.itemsize, a.dtype.type(-np.inf)
    if n >= w:
        high = load(a, at)
        for j in range(at, at + n - n % w, w):
            high = larger(load(a, j), high)
        # What it has in common with the vector before is compared twice.
        return largest(larger(load(a, at + n - w), high))
    for j in range(at, at + n):
        top = most(top, a[j])
    return top


@kernel
def _softmax(a: Array, y: Array) -> None:
    row = ravel(a)
    for i in range(a.shape[0]):
        top = _largest(row, i * a.shape[1], a.shape[1])
        total = y.dtype.type(0)
        for j in range(a.shape[1]):
            e = exp(a[i, j] - top)
            y[i, j] = e
            total += e
        r = y.dtype.type(1) / total
        for j in range(a.shape[1]):
            y[i, j] *= r


@kernel
def _softmax_back(g: Array, y: Array, d: Array) -> None:
    for i in range(y.shape[0]):
        dot = d.dtype.type(0)
        for j in range(y.shape[1]):
            dot += g[i, j] * y[i, j]
        for j in range(y.shape[1]):
            d[i, j] = y[i, j] * (g[i, j] - dot)


@on_forms
@as_it_lies
def log_softmax(a: Array, *, axis: int) -> OpResult | None:
    """The twin of ``ops.log_softmax``."""
    return _over_rows(a, axis, _log_softmax, _log_softmax_back) or _over_columns(
        a, axis, _log_softmax_columns, _log_softmax_columns_back
    )


@kernel
def _log_softmax(a: Array, y: Array) -> None:
    row = ravel(a)
    for i in range(a.shape[0]):
        top = _largest(row, i * a.shape[1], a.shape[1])
        total = y.dtype.type(0)
        for j in range(a.shape[1]):
            total += exp(a[i, j] - top)
        log_total = np.log(total)
        for j in range(a.shape[1]):
            y[i, j] = (a[i, j] - top) - log_total


@kernel
def _log_softmax_back(g: Array, y: Array, d: Array) -> None:
    for i in range(y.shape[0]):
        total = d.dtype.type(0)
        for j in range(y.shape[1]):
            total += g[i, j]
        for j in range(y.shape[1]):
            d[i, j] = g[i, j] - exp(y[i, j]) * total


@kernel
def _exponentials(a: Array, y: Array, top: Array, total: Array) -> None:
    for j in range(a.shape[1]):
        top[j] = a[0, j]
        total[j] = a.dtype.type(0)
    for k in range(1, a.shape[0]):
        for j in range(a.shape[1]):
            top[j] = most(top[j], a[k, j])
    for k in range(a.shape[0]):
        for j in range(a.shape[1]):
            e = exp(a[k, j] - top[j])
            y[k, j] = e
            total[j] += e


@kernel
def _softmax_columns(a: Array, y: Array) -> None:
    top, total = empty_of(a.shape[2], a.dtype), empty_of(a.shape[2], a.dtype)
    for i in range(a.shape[0]):
        _exponentials(a[i], y[i], top, total)
        for j in range(a.shape[2]):
            total[j] = a.dtype.type(1) / total[j]
        for k in range(a.shape[1]):
            for j in range(a.shape[2]):
                y[i, k, j] *= total[j]


@kernel
def _softmax_columns_back(g: Array, y: Array, d: Array) -> None:
    dot = empty_of(y.shape[2], y.dtype)
    for i in range(y.shape[0]):
        dot[:] = y.dtype.type(0)
        for k in range(y.shape[1]):
            for j in range(y.shape[2]):
                dot[j] += g[i, k, j] * y[i, k, j]
        for k in range(y.shape[1]):
            for j in range(y.shape[2]):
                d[i, k, j] = y[i, k, j] * (g[i, k, j] - dot[j])


@kernel
def _log_softmax_columns(a: Array, y: Array) -> None:
    top, total = empty_of(a.shape[2], a.dtype), empty_of(a.shape[2], a.dtype)
    for i in range(a.shape[0]):
        _exponentials(a[i], y[i], top, total)
        for j in range(a.shape[2]):
            total[j] = np.log(total[j])
        for k in range(a.shape[1]):
            for j in range(a.shape[2]):
                y[i, k, j] = (a[i, k, j] - top[j]) - total[j]


@kernel
def _log_softmax_columns_back(g: Array, y: Array, d: Array) -> None:
    total = empty_of(y.shape[2], y.dtype)
    for i in range(y.shape[0]):
        total[:] = y.dtype.type(0)
        for k in range(y.shape[1]):
            for j in range(y.shape[2]):
                total[j] += g[i, k, j]
        for k in range(y.shape[1]):
            for j in range(y.shape[2]):
                d[i, k, j] = g[i, k, j] - exp(y[i, k, j]) * total[j]


def cross_entropy(
    logits: Array,
    labels: TensorLike,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> OpResult | None:
    """The twin of ``ops.cross_entropy`` for logits (n, c)."""
    if not suits(logits) or logits.ndim != 2:
        return None
    check_reduction(reduction)
    given = labels if type(labels) is np.ndarray else integers(labels, "labels")
    if given.dtype != np.int64 or given.shape != logits.shape[:1]:
        check_labels(given, logits.shape, ignore_index)  # names what does not fit
        given = given.astype(np.int64)
    x, dtype = dense(logits), logits.dtype
    smoothing = dtype.type(label_smoothing)
    n = len(x)
    # The labels are copied, whoever changes them before the backward pass; -1 where ignored.
    targets, seen = np.empty(n, np.int64), np.empty(2, np.int64)
    p, loss = np.empty_like(x), np.empty(n, dtype)
    _cross_entropy(x, dense(given), ignore_index, smoothing, p, loss, targets, seen)
    count, bad = seen.tolist()
    if bad >= 0:
        check_labels(given, logits.shape, ignore_index)  # names it
    scale = share(count, dtype)

    def vjp(g: Array) -> Array:
        weights = np.asarray(g * scale if reduction == "mean" else g)
        d = np.empty_like(p)
        each = int(reduction == "none")
        _cross_entropy_back(flat(weights), each, p, targets, smoothing, d)
        return d

    if reduction == "none":
        return loss, (vjp, None)
    total = np.add.reduce(loss)
    return np.asarray(total * scale if reduction == "mean" else total), (vjp, None)


@kernel
def _cross_entropy(
    x: Array,
    labels: Array,
    ignored: int,
    smoothing: Scalar,
    p: Array,
    loss: Array,
    targets: Array,
    seen: Array,
) -> None:
    one, zero, c = x.dtype.type(1), x.dtype.type(0), x.dtype.type(x.shape[1])
    count, bad, row = 0, -1, ravel(x)
    for i in range(x.shape[0]):
        label = labels[i]
        keep = label != ignored
        if keep and not 0 <= label < x.shape[1]:
            bad = i
            keep = False
        targets[i] = label if keep else -1
        count += keep
        top = _largest(row, i * x.shape[1], x.shape[1])
        total = summed = zero
        for j in range(x.shape[1]):
            e = exp(x[i, j] - top)
            p[i, j] = e
            total += e
            summed += x[i, j] - top
        r = one / total
        for j in range(x.shape[1]):
            p[i, j] *= r
        log_total = np.log(total)
        own = log_total - (x[i, label if keep else 0] - top)
        if smoothing != zero:
            own = (one - smoothing) * own + smoothing * (log_total - summed / c)
        loss[i] = own if keep else zero
    seen[0], seen[1] = count, bad


@kernel
def _cross_entropy_back(
    weights: Array, each: int, p: Array, targets: Array, smoothing: Scalar, d: Array
) -> None:
    base = smoothing / d.dtype.type(p.shape[1])
    for i in range(p.shape[0]):
        target = targets[i]
        w = weights[i * each] if target >= 0 else d.dtype.type(0)
        for j in range(p.shape[1]):
            d[i, j] = w * (p[i, j] - base)
        d[i, most(target, 0)] -= w * (d.dtype.type(1) - smoothing)


def nll(
    log_probs: Array,
    labels: TensorLike,
    *,
    weight: TensorLike | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> OpResult | None:
    """The twin of ``ops.nll`` for rows (n, c) without weights of classes."""
    if weight is not None or not suits(log_probs) or log_probs.ndim != 2:
        return None
    shape, dtype = log_probs.shape, log_probs.dtype
    check_reduction(reduction)
    given = labels if type(labels) is np.ndarray else integers(labels, "labels")
    if given.dtype != np.int64 or given.shape != shape[:1]:
        check_labels(given, shape, ignore_index, "nll_loss")  # names what does not fit
        given = given.astype(np.int64)
    # The labels are copied, whoever changes them before the backward pass; -1 where ignored.
    targets, seen = np.empty(shape[0], np.int64), np.empty(2, np.int64)
    loss = np.empty(shape[0], dtype)
    _nll(dense(log_probs), dense(given), ignore_index, loss, targets, seen)
    count, bad = seen.tolist()
    if bad >= 0 or count == 0:
        return None  # the reference names it, and knows the mean of nothing
    scale = share(count, dtype)

    def vjp(g: Array) -> Array:
        weights = np.asarray(g * scale if reduction == "mean" else g)
        d = np.zeros(shape, dtype)
        _nll_back(flat(weights), int(reduction == "none"), targets, d)
        return d

    return np.asarray(reduced(loss, reduction, scale)), (vjp, None)


@kernel
def _nll(x: Array, labels: Array, ignored: int, loss: Array, targets: Array, seen: Array) -> None:
    count, bad = 0, -1
    for i in range(x.shape[0]):
        label = labels[i]
        keep = label != ignored
        if keep and not 0 <= label < x.shape[1]:
            bad, keep = i, False
        targets[i] = label if keep else -1
        count += keep
        loss[i] = -x[i, label] if keep else x.dtype.type(0)
    seen[0], seen[1] = count, bad


@kernel
def _nll_back(weights: Array, each: int, targets: Array, d: Array) -> None:
    for i in range(d.shape[0]):
        if targets[i] >= 0:
            d[i, targets[i]] = -weights[i * each]
