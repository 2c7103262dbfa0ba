"""Twins of where running extremes along an axis stand, in one pass."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.along import beside, counted
from distgrad.kernels.jit import kernel


def cummax(a: Array, axis: int) -> Array | None:
    """Return the index of the greatest so far, of equal ones the latest; NaN is the greatest."""
    return _running(a, axis, True)


def cummin(a: Array, axis: int) -> Array | None:
    """Return the index of the smallest so far, of equal ones the latest; NaN is the smallest."""
    return _running(a, axis, False)


def _running(a: Array, axis: int, greatest: bool) -> Array | None:
    along = counted(axis, a)
    if along is None:
        return None
    x, index = beside(a, along), np.empty(a.shape, np.int64)
    places = index.reshape(x.shape)
    if x.shape[2] == 1:
        _lines(x.reshape(x.shape[:2]), greatest, places.reshape(x.shape[:2]))
    else:
        _columns(x, greatest, np.empty(x.shape[2], x.dtype), places)
    return index.astype(np.intp, copy=False)


@kernel
def _lines(x: Array, greatest: bool, index: Array) -> None:
    for i in range(x.shape[0]):
        line, places, k = x[i], index[i], 0
        while k < line.size:  # from one new extreme to the next
            best, place = line[k], k
            k += 1
            if best != best:
                while k < line.size and line[k] == line[k]:
                    k += 1
            elif greatest:
                while k < line.size and line[k] < best:
                    k += 1
            else:
                while k < line.size and line[k] > best:
                    k += 1
            for j in range(place, k):
                places[j] = place


@kernel
def _columns(x: Array, greatest: bool, best: Array, index: Array) -> None:
    for i in range(x.shape[0]):
        for j in range(best.size):
            best[j] = x[i, 0, j]
            index[i, 0, j] = 0
        for k in range(1, x.shape[1]):
            row, places, before = x[i, k], index[i, k], index[i, k - 1]
            if greatest:
                for j in range(best.size):
                    v, b = row[j], best[j]
                    later = (v >= b) | (v != v)
                    best[j] = v if later else b
                    places[j] = k if later else before[j]
            else:
                for j in range(best.size):
                    v, b = row[j], best[j]
                    later = (v <= b) | (v != v)
                    best[j] = v if later else b
                    places[j] = k if later else before[j]
