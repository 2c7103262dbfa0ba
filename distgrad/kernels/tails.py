"""Twin of ``erfcx``: its recurrence in one pass; the exponentials stay NumPy's, and so its bits."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import dense, suits
from distgrad.kernels.jit import exact_kernel
from distgrad.kernels.scalars import empty_of
from distgrad.ops.normal_tails import TWO_OVER_SQRT_PI
from distgrad.ops.special import ERFC

_COEFFICIENTS = {np.dtype(t): np.array(ERFC).astype(t) for t in "fd"}
_HALF_OF_FIRST = {np.dtype(t): np.dtype(t).type(0.5 * ERFC[0]) for t in "fd"}


_BLOCK = 256


def erfcx(a: Array) -> OpResult | None:
    """The twin of ``ops.erfcx``."""
    if type(a) is not np.ndarray or not suits(a):
        return None
    y = _erfcx(a)

    def vjp(g: Array) -> Array:
        d: Array = g * (2 * a * y - TWO_OVER_SQRT_PI)
        return d

    return y, vjp


def _erfcx(a: Array) -> Array:
    share, exponent = np.empty(a.shape, a.dtype), np.empty(a.shape, a.dtype)
    given = _COEFFICIENTS[a.dtype], _HALF_OF_FIRST[a.dtype]
    _recurrence(dense(a).reshape(-1), *given, share.reshape(-1), exponent.reshape(-1))
    np.exp(exponent, out=exponent)
    y = np.multiply(share, exponent, out=exponent)
    below = a < 0
    if below.any():
        with np.errstate(over="ignore"):
            np.copyto(y, 2 * np.exp(a * a) - y, where=below)
    return y


@exact_kernel
def _recurrence(
    a: Array, coefficients: Array, half_of_first: float, share: Array, exponent: Array
) -> None:
    """Of each |a| the factor before the exponential, and its exponent: Clenshaw's recurrence."""
    F, c = a.dtype.type, coefficients
    twice, d, dd = empty_of(_BLOCK, a.dtype), empty_of(_BLOCK, a.dtype), empty_of(_BLOCK, a.dtype)
    for start in range(0, a.size, _BLOCK):
        x, t = a[start : start + _BLOCK], share[start : start + _BLOCK]
        e = exponent[start : start + _BLOCK]
        for i in range(x.size):
            t[i] = F(2) / (F(2) + abs(x[i]))
            twice[i], d[i], dd[i] = F(4) * t[i] - F(2), F(0), F(0)
        # A step of many numbers after the other: those of one number wait for each other.
        for k in range(c.size - 1, 0, -1):
            for i in range(x.size):
                d[i], dd[i] = twice[i] * d[i] - dd[i] + c[k], d[i]
        for i in range(x.size):
            e[i] = F(0.5) * twice[i] * d[i] - dd[i] + half_of_first
