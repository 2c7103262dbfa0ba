"""Twins of powers and of polynomials of a three-term recurrence: the bits of ops/recurrence.py."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import blank, flat, in_memory
from distgrad.kernels.jit import exact_kernel
from distgrad.ops.recurrence import Term, slope, slope_of_powers

_BLOCK = 256  # numbers at a time, which stay in the first cache


def three_term(
    a: Array, *, terms: tuple[Term, ...], degrees: Array | None = None
) -> OpResult | None:
    """The twin of ``ops.three_term`` of one degree."""
    if degrees is not None or type(a) is not np.ndarray or a.dtype.char not in "fd" or not terms:
        return None
    x, order = in_memory(a)
    value, y = blank(a, a.shape, order)
    _recur(x, _table(terms, a.dtype), y)
    return value, lambda g: g * slope(a, terms, None)


@cache
def _table(terms: tuple[Term, ...], dtype: Any) -> Array:
    return np.array(terms, dtype)


@exact_kernel
def _recur(x: Array, terms: Array, y: Array) -> None:
    rows = np.empty((3, _BLOCK), x.dtype)
    for begin in range(0, x.size, _BLOCK):
        u, out = x[begin : begin + _BLOCK], y[begin : begin + _BLOCK]
        for k in range(terms.shape[0]):
            alpha, beta, gamma, delta = terms[k]
            before, now, after = rows[k % 3], rows[(k + 1) % 3], rows[(k + 2) % 3]
            for i in range(u.size):
                p = u[i] * alpha
                p = p + beta if beta != 0 else p
                if k == 0:
                    now[i] = 1
                else:
                    p = p * now[i] - gamma * before[i]
                after[i] = p
            if delta != 1:
                for i in range(u.size):
                    after[i] /= delta
            if k == terms.shape[0] - 1:
                out[:] = after[: u.size]


def powers(a: Array, *, count: int) -> OpResult | None:
    """The twin of ``ops.powers``."""
    if type(a) is not np.ndarray or a.dtype.char not in "fd":
        return None
    y = np.empty((*a.shape, count), a.dtype)
    _raise(flat(a), y.reshape(-1, count))
    return y, lambda g: slope_of_powers(g, y)


@exact_kernel
def _raise(x: Array, y: Array) -> None:
    # Twice as many from all that are there: one after the other they would wait for each other.
    for i in range(x.size):
        row, done, power = y[i], 1, x[i]
        row[0] = 1
        while done < row.size:
            more = row[done : 2 * done]
            for j in range(more.size):
                more[j] = row[j] * power
            done, power = 2 * done, power * power
