"""Twins of counting: into which bins numbers fall, where elements are (not 0, in a triangle).

And of numbers that lie in steps of one width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.arrays import dense, readable, suits
from distgrad.kernels.jit import exact_kernel, inlined, kernel
from distgrad.kernels.scalars import least, most


def into_bins_(x: Array, edges: Array, evenly: bool, number: Array) -> bool:
    """Do what ``functions.histograms.into_bins_`` does; whether it was done."""
    if not suits(x, edges) or edges.size < 2:
        return False
    (_evenly if evenly else _anyhow)(readable(np.ascontiguousarray(x)), dense(edges), number)
    return True


@exact_kernel
def _evenly(x: Array, edges: Array, number: Array) -> None:
    bins = edges.size - 1
    first, last = edges[0], edges[bins]
    scale = bins / (last - first)
    for k in range(x.size):
        v, before = x[k], number[k]
        number[k] = 0
        if before and first <= v <= last:
            # About there; which side of an edge it is on is for the edge to say.
            near = (v - first) * scale
            j = np.int64(near) if near < bins else bins - 1
            while v < edges[j]:
                j -= 1
            while j < bins - 1 and v >= edges[j + 1]:
                j += 1
            number[k] = (before - 1) * bins + j + 1


@exact_kernel
def _anyhow(x: Array, edges: Array, number: Array) -> None:
    bins = edges.size - 1
    for k in range(x.size):
        v, before = x[k], number[k]
        number[k] = 0
        if before and edges[0] <= v <= edges[bins]:
            j, count = 0, bins  # the last edge that is not above v is one of so many from j on
            while count > 1:
                half = count // 2
                j = j + half if v >= edges[j + half] else j
                count -= half
            number[k] = (before - 1) * bins + j + 1


def triangle(rows: int, columns: int, offset: int, lower: bool) -> Array:
    """Return what ``functions.places.triangle`` does."""
    found = np.empty((2, _in_triangle(rows, columns, offset, lower)), np.int64)
    _triangle(rows, columns, offset, lower, found)
    return found


@inlined
def _ends(i: int, columns: int, offset: int, lower: bool) -> tuple[int, int]:
    edge = least(most(i + offset + (1 if lower else 0), 0), columns)
    return (0, edge) if lower else (edge, columns)


@kernel
def _in_triangle(rows: int, columns: int, offset: int, lower: bool) -> int:
    count = 0
    for i in range(rows):
        first, past = _ends(i, columns, offset, lower)
        count += past - first
    return count


@kernel
def _triangle(rows: int, columns: int, offset: int, lower: bool, found: Array) -> None:
    begin = 0
    for i in range(rows):
        first, past = _ends(i, columns, offset, lower)
        n = past - first
        above, below = found[0, begin : begin + n], found[1, begin : begin + n]
        for j in range(n):
            above[j] = i
            below[j] = first + j
        begin += n


def nonzero(a: Array) -> Array:
    """Return the indices of the elements that are not 0, as rows (``np.argwhere``)."""
    holds = np.not_equal(a, 0, order="C").view(np.uint8)
    count, axes = np.count_nonzero(holds), a.ndim
    y = np.empty((count + 1, axes), np.int64)  # the last row takes what is written and not meant
    lines = holds.reshape(math.prod(a.shape[:-1]), a.shape[-1])
    _indices(lines, np.array(a.shape, np.int64), np.zeros(axes, np.int64), y)
    return y[:count]


@kernel
def _indices(holds: Array, shape: Array, at: Array, y: Array) -> None:
    end, last = 0, at.size - 1
    for i in range(holds.shape[0]):
        line, begin = holds[i], end
        for j in range(line.size):
            y[end, last] = j
            end += line[j]
        for axis in range(last):
            for k in range(begin, end):
                y[k, axis] = at[axis]
        axis = last - 1
        while axis >= 0:  # the next line
            at[axis] += 1
            if at[axis] < shape[axis]:
                break
            at[axis] = 0
            axis -= 1


def line(count: int, dtype: np.dtype[Any], step: float, first: float) -> Array | None:
    """Return what ``functions.counting.line`` does."""
    if dtype not in (np.float32, np.float64):
        return None
    y = np.empty(count, dtype)
    _line(float(step), float(first), y)
    return y


@exact_kernel
def _line(step: float, first: float, y: Array) -> None:
    for i in range(y.size):
        y[i] = np.float64(i) * step + first
