"""Twins of the sine and the cosine of float64, for which NumPy calls C's function number by number.

Both are the sine some quarters of a turn further on. An angle is brought to within an eighth of a
turn (Cody & Waite 1980, π / 2 in three parts, fused), where fdlibm's polynomials stand for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import blank, in_memory, in_order
from distgrad.kernels.jit import inlined, kernel
from distgrad.kernels.mathematics import fma, polynomial
from distgrad.kernels.scalars import bits

SINE, COSINE = 0, 1
"""Quarters of a turn that are added."""
_float64 = np.dtype(np.float64)
FAR = float(1 << 28)
"""Angles beyond are C's: of more turns three parts of π do not say enough."""
_MAGIC = 6755399441055744.0  # 1.5 · 2⁵²: what is added to it is rounded, into its lowest bits
_TURNS = 2 / math.pi
# All of one sign, so that an angle of -0 stays one.
_HIGH, _MIDDLE, _LOW = 1.5707963267948966, 6.123233995736765e-17, 1.0828566739219127e-32
_sine = polynomial(
    np.float64,
    [
        *(-1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04),
        *(2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10),
    ],
)
_cosine = polynomial(
    np.float64,
    [
        *(4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05),
        *(-2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11),
    ],
)


def sin(a: Any) -> OpResult | None:
    """The twin of ``ops.sin`` for float64."""
    return _of(a, SINE)


def cos(a: Any) -> OpResult | None:
    """The twin of ``ops.cos`` for float64."""
    return _of(a, COSINE)


def _of(a: Any, quarters: int) -> OpResult | None:
    if type(a) is not np.ndarray or a.dtype != _float64 or not a.size:
        return None
    x, order = in_memory(a)
    value, y = blank(a, a.shape, order)
    waves(x, quarters, y)
    return value, _slope(a if order is None and x.base is a else x, a.shape, order, quarters + 1)


def _slope(x: Array, shape: Any, order: Any, quarters: int) -> Callable[[Array], Array]:
    def vjp(g: Array) -> Array:
        result, d = blank(x, shape, order)
        times_waves(in_order(g, order), x.reshape(-1), quarters, d)
        return result

    return vjp


@kernel
def waves(x: Array, quarters: int, y: Array) -> None:
    """Let y = sin(x + quarters π / 2)."""
    far = False
    for i in range(y.size):
        y[i] = wave(x[i], quarters)
        far |= abs(x[i]) > FAR
    if far:
        for i in range(y.size):
            if abs(x[i]) > FAR:
                y[i] = _far_wave(x[i], quarters)


@kernel
def times_waves(g: Array, x: Array, quarters: int, d: Array) -> None:
    """Let d = g sin(x + quarters π / 2)."""
    far = False
    for i in range(d.size):
        d[i] = g[i] * wave(x[i], quarters)
        far |= abs(x[i]) > FAR
    if far:
        for i in range(d.size):
            if abs(x[i]) > FAR:
                d[i] = g[i] * _far_wave(x[i], quarters)


@inlined
def wave(x: float, quarters: int) -> float:
    """sin(x + quarters π / 2) of float64, within ``FAR``."""
    t = fma(x, _TURNS, _MAGIC)
    n = t - _MAGIC
    r = fma(-n, _LOW, fma(-n, _MIDDLE, fma(-n, _HIGH, x)))
    z = r * r
    s = fma(z * r, _sine(z), r) if z != 0 else r
    half = 0.5 * z
    w = 1.0 - half
    c = w + ((1.0 - w) - half + z * z * _cosine(z))
    k = bits(t) + quarters
    y: float = c if k & 1 else s
    return -y if k & 2 else y


@inlined
def _far_wave(x: float, quarters: int) -> float:
    k = quarters & 3
    y = math.cos(x) if k & 1 else math.sin(x)
    return -y if k & 2 else y
