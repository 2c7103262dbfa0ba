"""Twin of polynomials of a three-term recurrence, with the bits of ops/recurrence.py."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import blank, in_memory
from distgrad.kernels.jit import exact_kernel
from distgrad.ops.recurrence import Term, slope

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
