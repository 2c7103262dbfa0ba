"""Elementwise operations: arithmetic, powers, exponentials, choices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import op, plain

plain(
    *(np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal),
    *(np.isnan, np.isinf, np.isfinite, np.logical_and, np.logical_or, np.logical_not),
    *(np.sign, np.floor, np.ceil, np.rint, np.trunc),
    *(np.shape, np.ndim, np.size, np.argmax, np.argmin, np.argsort, np.count_nonzero),
    *(np.zeros_like, np.ones_like, np.allclose, np.array_equal),
)


@op("..., ... -> ...", ufunc=np.add, method=("__add__", "__radd__"))
def add(a: Any, b: Any) -> Any:
    """a + b."""
    return np.add(a, b), (lambda g: g, lambda g: g)


@op("..., ... -> ...", ufunc=np.subtract, method=("__sub__", "__rsub__"))
def subtract(a: Any, b: Any) -> Any:
    """a - b."""
    return np.subtract(a, b), (lambda g: g, lambda g: -g)


@op("..., ... -> ...", ufunc=np.multiply, method=("__mul__", "__rmul__"))
def multiply(a: Any, b: Any) -> Any:
    """a * b."""
    return np.multiply(a, b), (lambda g: g * b, lambda g: g * a)


@op(
    "..., ... -> ...",
    ufunc=np.true_divide,
    method=("__truediv__", "__rtruediv__"),
    domain=(0.5, 2.0),
)
def divide(a: Any, b: Any) -> Any:
    """a / b."""
    y = np.true_divide(a, b)
    return y, (lambda g: g / b, lambda g: -g * y / b)


@op("..., ... -> ...", ufunc=np.power, method=("__pow__", "__rpow__"), domain=(0.5, 2.0))
def power(a: Any, b: Any) -> Any:
    """a ** b; small whole exponents are products, which NumPy's pow is not."""
    y = _power(a, b)
    return y, (lambda g: g * b * _power(a, b - 1), lambda g: g * y * np.log(a))


def _power(a: Any, b: Any) -> Any:
    if isinstance(b, int | float):
        if b == 3:
            return a * a * a
        if b == 2:
            return a * a
        if b == 1:
            return a * 1
        if b == 0:
            return a * 0 + 1
        if b == -1:
            return 1 / a
    return np.power(a, b)


@op("... -> ...", ufunc=np.negative, method="__neg__")
def negative(a: Any) -> Any:
    """-a."""
    return np.negative(a), lambda g: -g


@op("... -> ...", ufunc=np.positive, method="__pos__")
def positive(a: Any) -> Any:
    """+a."""
    return np.positive(a), lambda g: g


@op("... -> ...", ufunc=np.exp)
def exp(a: Any) -> Any:
    """e ** a."""
    y = np.exp(a)
    return y, lambda g: g * y


@op("... -> ...", ufunc=np.log, domain=(0.2, 3.0))
def log(a: Any) -> Any:
    """The natural logarithm."""
    return np.log(a), lambda g: g / a


@op("... -> ...", ufunc=np.log1p, domain=(-0.5, 2.0))
def log1p(a: Any) -> Any:
    """log(1 + a), exact for small a."""
    return np.log1p(a), lambda g: g / (a + 1)


@op("... -> ...", ufunc=np.expm1)
def expm1(a: Any) -> Any:
    """exp(a) - 1, exact for small a."""
    y = np.expm1(a)
    return y, lambda g: g * (y + 1)


@op("... -> ...", ufunc=np.sqrt, domain=(0.2, 3.0))
def sqrt(a: Any) -> Any:
    """The square root."""
    y = np.sqrt(a)
    return y, lambda g: g * 0.5 / y


@op("... -> ...", ufunc=np.square)
def square(a: Any) -> Any:
    """a * a."""
    return np.square(a), lambda g: g * 2 * a


@op("... -> ...", ufunc=np.reciprocal, domain=(0.5, 2.0))
def reciprocal(a: Any) -> Any:
    """1 / a."""
    y = np.reciprocal(a)
    return y, lambda g: -g * y * y


@op("... -> ...", ufunc=np.sin)
def sin(a: Any) -> Any:
    """The sine (radians)."""
    return np.sin(a), lambda g: g * np.cos(a)


@op("... -> ...", ufunc=np.cos)
def cos(a: Any) -> Any:
    """The cosine (radians)."""
    return np.cos(a), lambda g: -g * np.sin(a)


@op("... -> ...", ufunc=np.tanh)
def tanh(a: Any) -> Any:
    """The hyperbolic tangent."""
    y = np.tanh(a)
    return y, lambda g: g * (1 - y * y)


@op("... -> ...", ufunc=np.absolute, method="__abs__", domain=(0.2, 2.0))
def absolute(a: Any) -> Any:
    """|a|; the gradient at 0 is 0."""
    return np.absolute(a), lambda g: g * np.sign(a)


@op("..., ... -> ...", ufunc=np.maximum)
def maximum(a: Any, b: Any) -> Any:
    """The larger of a and b; equal elements share the gradient (as in PyTorch)."""
    return np.maximum(a, b), (
        lambda g: g * _share(a > b, a == b),
        lambda g: g * _share(b > a, a == b),
    )


@op("..., ... -> ...", ufunc=np.minimum)
def minimum(a: Any, b: Any) -> Any:
    """The smaller of a and b; equal elements share the gradient (as in PyTorch)."""
    return np.minimum(a, b), (
        lambda g: g * _share(a < b, a == b),
        lambda g: g * _share(b < a, a == b),
    )


def _share(wins: Any, ties: Any) -> Any:
    return wins + np.float16(0.5) * ties


@op(
    "..., ..., ... -> ...",
    function=np.where,
    samples=lambda rng: [
        ((rng.random((2, 3)) < 0.5, rng.normal(size=(2, 3)), rng.normal(size=3)), {}),
    ],
)
def where(condition: Any, a: Any, b: Any) -> Any:
    """Elements of a where the condition holds, of b elsewhere."""
    return np.where(condition, a, b), (
        None,
        lambda g: np.where(condition, g, 0),
        lambda g: np.where(condition, 0, g),
    )


@op(
    "... -> ...",
    function=np.clip,
    samples=lambda rng: [((rng.uniform(-2, 2, (3, 4)),), {"a_min": -1.0, "a_max": 0.7})],
)
def clip(a: Any, *, a_min: Any = None, a_max: Any = None) -> Any:
    """a limited to [a_min, a_max]; no gradient flows where it was cut."""
    lower = -math.inf if a_min is None else a_min
    upper = math.inf if a_max is None else a_max
    return np.clip(a, a_min, a_max), lambda g: g * ((a >= lower) & (a <= upper))


@op("... -> ...", method="astype", samples=lambda rng: [((rng.normal(size=3),), {"dtype": "f8"})])
def astype(a: Any, *, dtype: Any) -> Any:
    """a in another dtype."""
    return a.astype(dtype), lambda g: g
