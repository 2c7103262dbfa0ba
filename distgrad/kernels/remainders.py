"""Twins of remainders and of division with a whole quotient, computed in float64.

What x less a whole quotient times z comes to has a float64, so that it is exact where product and
difference are rounded together. Quotients of which not all wholes have a number of the arrays'
dtype, infinities and division by 0 are left to the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import blank, in_memory, in_order
from distgrad.kernels.jit import inlined, kernel
from distgrad.kernels.mathematics import fma

_MOST = {np.dtype(np.float32): float(1 << 24), np.dtype(np.float64): float(1 << 52)}
"""Quotients from here on are the reference's."""


def floor_divide(a: Any, b: Any) -> OpResult | None:
    """The twin of ``ops.floor_divide``."""
    found = _computed(a, b, _floors)
    return None if found is None else (found[0], (np.zeros_like, np.zeros_like))


def remainder(a: Any, b: Any) -> OpResult | None:
    """The twin of ``ops.remainder``."""
    return _with_quotient(a, b, _remainders, _remainders_back)


def fmod(a: Any, b: Any) -> OpResult | None:
    """The twin of ``ops.fmod``."""
    return _with_quotient(a, b, _fmods, _fmods_back)


def _computed(a: Any, b: Any, run: Callable[..., bool]) -> tuple[Array, Any] | None:
    if type(a) is not np.ndarray or type(b) is not np.ndarray or not (a.size and b.size):
        return None
    most = _MOST.get(a.dtype)
    if most is None or b.dtype != a.dtype:
        return None
    if a.shape != b.shape:
        shape = np.broadcast_shapes(a.shape, b.shape)
        a, b = np.broadcast_to(a, shape), np.broadcast_to(b, shape)
    x, order = in_memory(a)
    z = in_order(b, order)
    result, y = blank(a, a.shape, order)
    return (result, (x, z, order)) if run(x, z, most, y) else None


def _with_quotient(
    a: Any, b: Any, run: Callable[..., bool], back: Callable[..., None]
) -> OpResult | None:
    found = _computed(a, b, run)
    if found is None:
        return None
    value, (x, z, order) = found
    shape = value.shape

    def to_divisor(g: Array) -> Array:
        result, d = blank(x, shape, order)
        back(in_order(g, order), x, z, d)
        return result

    return value, (_as_is, to_divisor)


def _as_is(g: Array) -> Array:
    return g


@inlined
def _fits(q: float, z: float, most: float) -> Any:
    return (abs(q) < most) & (abs(z) < np.inf)


@inlined
def _rest(x: float, z: float) -> float:
    """x - trunc(x / z) z, with the sign of x."""
    r = fma(-np.trunc(x / z), z, x)
    s = abs(z) if x > 0 else -abs(z)
    r = r + s if (r < 0 if x > 0 else r > 0) else r  # the quotient was rounded up to a whole one
    return r if r != 0 else x * 0


@inlined
def _floored(x: float, z: float) -> float:
    """x - floor(x / z) z, with the sign of z."""
    r = _rest(x, z)
    moved = r + z if (r < 0) != (z < 0) else r
    return moved if r != 0 else (0.0 if z > 0 else -0.0)


@kernel
def _fmods(a: Array, b: Array, most: float, y: Array) -> Any:
    fits = True
    for i in range(y.size):
        x, z = np.float64(a[i]), np.float64(b[i])
        fits &= _fits(x / z, z, most)
        y[i] = _rest(x, z)
    return fits


@kernel
def _fmods_back(g: Array, a: Array, b: Array, d: Array) -> None:
    for i in range(d.size):
        x, z = np.float64(a[i]), np.float64(b[i])
        d[i] = g[i] * -np.trunc(d.dtype.type(x / z))


@kernel
def _remainders(a: Array, b: Array, most: float, y: Array) -> Any:
    fits = True
    for i in range(y.size):
        x, z = np.float64(a[i]), np.float64(b[i])
        fits &= _fits(x / z, z, most)
        y[i] = _floored(x, z)
    return fits


@inlined
def _floor(x: float, z: float) -> float:
    r = _rest(x, z)
    q = (x - r) / z
    q = q - 1 if (r != 0) & ((r < 0) != (z < 0)) else q
    whole = np.floor(q)  # x - r was rounded
    whole = whole + 1 if q - whole > 0.5 else whole
    return whole if q != 0 else x / z * 0


@kernel
def _remainders_back(g: Array, a: Array, b: Array, d: Array) -> None:
    for i in range(d.size):
        d[i] = g[i] * -d.dtype.type(_floor(np.float64(a[i]), np.float64(b[i])))


@kernel
def _floors(a: Array, b: Array, most: float, y: Array) -> Any:
    fits = True
    for i in range(y.size):
        x, z = np.float64(a[i]), np.float64(b[i])
        fits &= _fits(x / z, z, most)
        y[i] = _floor(x, z)
    return fits
