"""Trigonometric and hyperbolic functions with their inverses. Angles are in radians."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.methods.calls import UFUNCS
from distgrad.autograd.op import OpResult, op
from distgrad.autograd.types import Array
from distgrad.ops.helpers import ONE, InDtype, aside, conjugate, data_of, either_fused
from distgrad.ops.slopes import tanh_backward


@op("... -> ...", ufunc=np.sin)
def sin(a: Array) -> OpResult:
    """The sine."""
    return np.sin(a), lambda g: g * conjugate(np.cos(a))


@op("... -> ...", ufunc=np.cos)
def cos(a: Array) -> OpResult:
    """The cosine."""
    return np.cos(a), lambda g: -g * conjugate(np.sin(a))


@op("... -> ...", ufunc=np.tan, domain=(-1.2, 1.2))
def tan(a: Array) -> OpResult:
    """The tangent."""
    y = np.tan(a)
    return y, lambda g: g * conjugate(1 + y * y)


@op("... -> ...", ufunc=np.arcsin, domain=(-0.9, 0.9))
def arcsin(a: Array) -> OpResult:
    """The inverse of the sine; its gradient at ±1 is infinite."""
    return np.arcsin(a), lambda g: g / conjugate(np.sqrt(1 - a) * np.sqrt(1 + a))


@op("... -> ...", ufunc=np.arccos, domain=(-0.9, 0.9))
def arccos(a: Array) -> OpResult:
    """The inverse of the cosine; its gradient at ±1 is infinite."""
    return np.arccos(a), lambda g: -g / conjugate(np.sqrt(1 - a) * np.sqrt(1 + a))


@op("... -> ...", ufunc=np.arctan)
def arctan(a: Array) -> OpResult:
    """The inverse of the tangent."""
    return np.arctan(a), lambda g: g / conjugate(1 + a * a)


@op("..., ... -> ...", ufunc=np.arctan2, domain=(0.3, 2.0))
def arctan2(a: Array | float, b: Array | float) -> OpResult:
    """The angle of the point (x, y) = (b, a); the gradient at the origin is 0."""

    def over_radius(x: Array | float) -> Array:
        r = np.hypot(a, b)
        r = np.where(aside(np.equal, r, 0), 1, r)
        return x / r / r  # not r²: it may overflow

    return np.arctan2(a, b), (lambda g: g * over_radius(b), lambda g: -g * over_radius(a))


@op("..., ... -> ...", ufunc=np.hypot, domain=(0.3, 2.0))
def hypot(a: Array | float, b: Array | float) -> OpResult:
    """√(a² + b²), without overflow; the gradient at the origin is 0."""
    y = np.hypot(a, b)
    safe = np.where(aside(np.equal, y, 0), 1, y)
    return y, (lambda g: g * (a / safe), lambda g: g * (b / safe))


@op("... -> ...", ufunc=np.sinh)
def sinh(a: Array) -> OpResult:
    """The hyperbolic sine."""
    return np.sinh(a), lambda g: g * conjugate(np.cosh(a))


@op("... -> ...", ufunc=np.cosh)
def cosh(a: Array) -> OpResult:
    """The hyperbolic cosine."""
    return np.cosh(a), lambda g: g * conjugate(np.sinh(a))


@op("... -> ...", ufunc=np.tanh)
def tanh(a: Array) -> OpResult:
    """The hyperbolic tangent."""
    y = np.tanh(a)
    if y.dtype.kind == "c":
        return y, lambda g: g * conjugate(ONE.beside(y) - y * y)
    return y, lambda g: either_fused(tanh_backward, g, y)


@op("... -> ...", ufunc=np.arcsinh)
def arcsinh(a: Array) -> OpResult:
    """The inverse of the hyperbolic sine."""
    return np.arcsinh(a), lambda g: g / conjugate(np.sqrt(a * a + 1))


@op("... -> ...", ufunc=np.arccosh, domain=(1.2, 3.0))
def arccosh(a: Array) -> OpResult:
    """The inverse of the hyperbolic cosine (a ≥ 1); its gradient at 1 is infinite."""
    return np.arccosh(a), lambda g: g / conjugate(np.sqrt(a - 1) * np.sqrt(a + 1))


@op("... -> ...", ufunc=np.arctanh, domain=(-0.9, 0.9))
def arctanh(a: Array) -> OpResult:
    """The inverse of the hyperbolic tangent (-1 < a < 1)."""
    return np.arctanh(a), lambda g: g / conjugate((1 - a) * (1 + a))


_DEGREE, _RADIAN = InDtype(math.pi / 180), InDtype(180 / math.pi)
# NumPy's own functions are scalar: a product takes a seventh of their time.


@op("... -> ...", ufunc=np.deg2rad)
def deg2rad(a: Array) -> OpResult:
    """Degrees in radians."""
    y = np.deg2rad(a) if a.dtype.kind != "f" else np.multiply(a, _DEGREE.beside(a))
    return y, lambda g: np.multiply(g, _DEGREE.beside(g))


@op("... -> ...", ufunc=np.rad2deg)
def rad2deg(a: Array) -> OpResult:
    """Radians in degrees."""
    y = np.rad2deg(a) if a.dtype.kind != "f" else np.multiply(a, _RADIAN.beside(a))
    return y, lambda g: np.multiply(g, _RADIAN.beside(g))


UFUNCS[np.radians] = deg2rad
UFUNCS[np.degrees] = rad2deg

# sinc'(u) / u by Taylor's series in u², u = π a: Σ (-1)ᵏ 2k / (2k + 1)! u²ᵏ⁻², k ≥ 1.
_SINC_SLOPE = [(-1) ** k * 2 * k / math.factorial(2 * k + 1) for k in range(1, 11)]


@op(
    "... -> ...",
    function=np.sinc,
    samples=lambda rng: [((np.array([0.0, 1e-3, 0.2, -0.31, 0.33, 1.0, -2.3]),), {})],
    real=True,
)
def sinc(a: Array) -> OpResult:
    """sin(π a) / (π a), and 1 at 0."""

    def vjp(g: Array) -> Array:
        # Near 0 the closed form is a difference of equal numbers over a small one.
        u = math.pi * a
        near = np.absolute(data_of(u)) < 1
        square = np.where(near, u * u, 0)
        series = np.zeros_like(a)
        for c in reversed(_SINC_SLOPE):
            series = series * square + c
        far = np.where(near, 1, a)
        slope = (np.cos(u) - np.sinc(a)) / far
        return g * np.where(near, math.pi * u * series, slope)

    return np.sinc(a), vjp
