"""Twin of Hurwitz's zeta function of float32: the sums of ops/bessel.py, in float64.

What is not above the poles, or not finite, is left to the reference.
"""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels import mathematics as m
from distgrad.kernels.arrays import blank, in_memory, in_order
from distgrad.kernels.jit import kernel
from distgrad.kernels.scalars import empty_of, least
from distgrad.ops.bessel import BERNOULLI, DIRECT, zeta_slope

_BLOCK = 256  # numbers at a time, which stay in the first cache
_RISING = tuple([b / math.factorial(2 * i) for i, b in enumerate(BERNOULLI, start=1)])


def zeta(q: Array, *, x: float | Array) -> OpResult | None:
    """The twin of ``ops.zeta``, for exponents that broadcast to q."""
    if type(q) is not np.ndarray or q.dtype != np.float32 or not q.size:
        return None
    s = np.asarray(x, np.float64)
    if s.shape != q.shape and s.ndim:
        return None
    if not (_between(0, np.inf, q) and _between(1, _STEEPEST, s)):
        return None
    row, order = in_memory(q)
    value, y = blank(q, q.shape, order)
    _sums(row, in_order(s if s.ndim else np.full(q.shape, s), order), y)
    return value, zeta_slope(q, x)


def _between(low: float, high: float, a: Array) -> bool:
    return bool(low < np.minimum.reduce(a, None) and np.maximum.reduce(a, None) < high)


_STEEPEST = 64.0  # of a larger exponent a term's logarithm has too few digits


@kernel
def _sums(q: Array, x: Array, y: Array) -> None:
    total = empty_of(_BLOCK, np.float64)
    for begin in range(0, y.size, _BLOCK):
        end = least(begin + _BLOCK, y.size)
        for i in range(begin, end):
            total[i - begin] = 0.0
        for k in range(DIRECT):
            for i in range(begin, end):
                total[i - begin] += m.exp(-x[i] * m.log(np.float64(q[i]) + k))
        for i in range(begin, end):
            s, b = x[i], np.float64(q[i]) + DIRECT
            power = m.exp(-s * m.log(b))
            sum_ = total[i - begin] + power * (b / (s - 1.0) + 0.5)
            power, rising, square = power / b, s, 1.0 / (b * b)
            for j in range(len(_RISING)):
                sum_ += _RISING[j] * rising * power
                rising *= (s + (2 * j + 1)) * (s + (2 * j + 2))
                power *= square
            y[i] = sum_
