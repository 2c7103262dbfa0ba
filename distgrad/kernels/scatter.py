"""Twins of the embedding, of rows picked by an index, and of the extremes of what comes to a place.

Gradients are added by a kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.faster import MANY
from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Shape
from distgrad.kernels import picks
from distgrad.kernels.arrays import dense, flat, suits
from distgrad.kernels.jit import exact_kernel, kernel
from distgrad.kernels.scalars import most
from distgrad.ops.checked import checked_rows
from distgrad.ops.helpers import within
from distgrad.ops.indexing import bag_lengths


def embedding(indices: Array, weight: Array, *, padding_idx: int | None = None) -> OpResult | None:
    """The twin of ``ops.embedding``."""
    if not suits(weight) or weight.ndim != 2:
        return None
    rows = checked_rows(indices, weight)
    flat_rows = np.array(rows, np.int64).reshape(-1)
    shape, dtype = weight.shape, weight.dtype

    def vjp(g: Array) -> Array:
        d = np.zeros(shape, dtype)
        if flat_rows.size:
            add_rows(dense(g).reshape(flat_rows.size, -1), flat_rows, d)
        if padding_idx is not None:
            d[padding_idx] = 0
        return d

    return weight[rows], (None, vjp)


def bag_sum(weight: Array, indices: Array, *, ends: Array) -> OpResult | None:
    """The twin of ``ops.bag_sum``."""
    if not suits(weight):
        return None
    rows = checked_rows(indices, weight).astype(np.int64)
    counts = bag_lengths(ends, rows.size).astype(np.int64)
    shape, dtype = weight.shape, weight.dtype
    y = np.zeros((len(counts), shape[1]), dtype)
    _bag_sums(dense(weight), rows, counts, y)

    def vjp(g: Array) -> Array:
        d = np.zeros(shape, dtype)
        add_rows(np.repeat(g, counts, axis=0), rows, d)
        return d

    return y, (vjp, None)


def getitem(a: Array, *, index: Any) -> OpResult | None:
    """The twin of ``ops.getitem`` for an array of whole numbers alone, or a mask."""
    kind = index.dtype.kind if type(index) is np.ndarray else ""
    if kind == "b" and a.size >= MANY:
        return picks.getitem(a, index)
    if kind not in ("i", "u") or not suits(a):
        return None
    places = index.astype(np.int64).reshape(-1)
    if np.count_nonzero(places.view(np.uint64) >= len(a)):  # negative ones, or too large
        places = np.where(places < 0, places + len(a), places)
        if np.count_nonzero(places.view(np.uint64) >= len(a)):
            return None  # NumPy says what is wrong
    shape, dtype = a.shape, a.dtype
    rows, width = dense(a).reshape(len(a), -1), a.size // len(a)
    y = np.empty((*index.shape, *shape[1:]), dtype)
    _rows(rows, places, y.reshape(places.size, width))

    def vjp(g: Array) -> Array:
        d = np.zeros(shape, dtype)
        # ``index`` is mentioned, so that whoever changes it before is told: see saved_check.py.
        add_rows(dense(g).reshape(index.size, width), places, d.reshape(len(d), width))
        return d

    return y, vjp


def add_at(g: Array, *, index: Any, shape: Shape, dtype: Any) -> OpResult | None:
    """The twin of ``ops.add_at`` for an array of whole numbers from 0 on."""
    if type(index) is not np.ndarray or index.dtype.kind not in "iu" or not suits(g):
        return None
    if np.dtype(dtype) not in (np.float32, np.float64) or not shape or not shape[0]:
        return None
    places = index.astype(np.int64).reshape(-1)
    if np.count_nonzero(places.view(np.uint64) >= shape[0]):
        return None
    y = np.zeros(shape, dtype)
    add_rows(dense(g).reshape(places.size, -1), places, y.reshape(shape[0], -1))
    return y, lambda gg: gg[index]


def extreme_at(
    a: Array,
    src: Array,
    *,
    places: Array,
    width: int = 1,
    own: Array | None = None,
    largest: bool = True,
) -> OpResult | None:
    """The twin of ``ops.extreme_at``."""
    if not suits(a, src) or type(places) is not np.ndarray:
        return None
    row, shape, of_src = places.astype(np.int64, copy=False).reshape(-1), a.shape, src.shape
    alone = np.empty(0, np.bool_) if own is None else flat(own)
    x, given = dense(a).reshape(-1, width), dense(src).reshape(-1, width)
    one_each = len(given) == row.size and (own is None or alone.size == len(x))
    if not (one_each and within(row, 0, len(x) - 1)):
        return None  # the reference words the error
    y = np.empty(shape, a.dtype)
    best = y.reshape(x.shape)
    _extremes(x, given, row, alone, largest, best)

    def vjp(wanted: Any, g: Array) -> tuple[Array, Array]:
        to_a, to_src = np.empty(shape, g.dtype), np.empty(of_src, g.dtype)
        ties, slices = (
            np.zeros(x.shape, np.int32),
            (to_a.reshape(x.shape), to_src.reshape(-1, width)),
        )
        _shares(dense(g).reshape(x.shape), x, given, row, alone, best, ties, *slices)
        return to_a, to_src

    return y, Joint(vjp)


@exact_kernel
def _extremes(x: Array, given: Array, row: Array, own: Array, largest: bool, best: Array) -> None:
    zero = best.dtype.type(0)  # added, so that -0 becomes 0
    worst = best.dtype.type(-np.inf if largest else np.inf)
    for i in range(best.shape[0]):
        counts = own.size == 0 or own[i]
        for j in range(best.shape[1]):
            best[i, j] = x[i, j] + zero if counts else worst
    for k in range(row.size):
        to, what = best[row[k]], given[k]
        for j in range(what.size):
            v, b = what[j], to[j]
            beats = (v > b if largest else v < b) | (v != v)
            to[j] = v + zero if beats else b


@exact_kernel
def _shares(
    g: Array,
    x: Array,
    given: Array,
    row: Array,
    own: Array,
    best: Array,
    ties: Array,
    to_a: Array,
    to_src: Array,
) -> None:
    # Until the last loop ``to_a`` has the share of whoever holds a place's extreme.
    zero = best.dtype.type(0)
    for k in range(row.size):
        r = row[k]
        for j in range(given.shape[1]):
            ties[r, j] += given[k, j] == best[r, j]
    for i in range(best.shape[0]):
        counts = own.size == 0 or own[i]
        for j in range(best.shape[1]):
            n = ties[i, j] + (counts & (x[i, j] == best[i, j]))
            to_a[i, j] = g[i, j] / best.dtype.type(most(n, 1))
    for k in range(row.size):
        r = row[k]
        for j in range(given.shape[1]):
            to_src[k, j] = to_a[r, j] if given[k, j] == best[r, j] else zero
    for i in range(best.shape[0]):
        counts = own.size == 0 or own[i]
        for j in range(best.shape[1]):
            to_a[i, j] = to_a[i, j] if counts & (x[i, j] == best[i, j]) else zero


@exact_kernel
def _bag_sums(weight: Array, rows: Array, counts: Array, y: Array) -> None:
    begin = 0
    for bag in range(counts.size):
        to, end = y[bag], begin + counts[bag]
        for k in range(begin, end - 3, 4):  # the sum is read and written once for four
            a, b = weight[rows[k]], weight[rows[k + 1]]
            c, d = weight[rows[k + 2]], weight[rows[k + 3]]
            for j in range(to.size):
                to[j] = (((to[j] + a[j]) + b[j]) + c[j]) + d[j]
        for k in range(end - (end - begin) % 4, end):
            a = weight[rows[k]]
            for j in range(to.size):
                to[j] += a[j]
        begin = end


@kernel
def _rows(a: Array, rows: Array, y: Array) -> None:
    if a.shape[1] == 1:
        for i in range(rows.size):
            y[i, 0] = a[rows[i], 0]
        return
    for i in range(rows.size):
        r = rows[i]
        for j in range(a.shape[1]):
            y[i, j] = a[r, j]


@kernel
def add_rows(g: Array, rows: Array, d: Array) -> None:
    """Add row i of ``g`` to row ``rows[i]`` of ``d``."""
    if d.shape[1] == 1:
        for i in range(rows.size):
            d[rows[i], 0] += g[i, 0]
        return
    for i in range(rows.size):
        r = rows[i]
        for j in range(d.shape[1]):
            d[r, j] += g[i, j]
