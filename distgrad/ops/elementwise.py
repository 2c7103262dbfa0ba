"""Arithmetic: sums, products, powers and roots, for real and complex numbers.

The gradient to a complex input is g · conjugate(df/dz), as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.methods.calls import UFUNCS
from distgrad.autograd.mode import empty_shard
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array, DTypeLike, Operand
from distgrad.ops.helpers import HALF, TWO, aside, conjugate, data_of


def as_is(g: Array) -> Array:  # one for all: a lambda a call would cost
    """Return the gradient itself."""
    return g


@op("..., ... -> ...", ufunc=np.add, method=("__add__", "__radd__"))
def add(a: Operand, b: Operand) -> OpResult:
    """a + b."""
    return np.add(a, b), (as_is, as_is)


@op("..., ... -> ...", ufunc=np.subtract, method=("__sub__", "__rsub__"))
def subtract(a: Operand, b: Operand) -> OpResult:
    """a - b."""
    return np.subtract(a, b), (as_is, np.negative)


@op("..., ... -> ...", ufunc=np.multiply, method=("__mul__", "__rmul__"))
def multiply(a: Operand, b: Operand) -> OpResult:
    """a * b."""
    y = np.multiply(a, b)
    if y.dtype.kind == "c":
        return y, (lambda g: g * conjugate(b), lambda g: g * conjugate(a))
    return y, (lambda g: g * b, lambda g: g * a)


@op(
    "..., ... -> ...",
    ufunc=np.true_divide,
    method=("__truediv__", "__rtruediv__"),
    domain=(0.5, 2.0),
)
def divide(a: Operand, b: Operand) -> OpResult:
    """a / b."""
    if empty_shard.get() and getattr(b, "ndim", 0) == 0 and data_of(b) == 0:
        b = b + 1  # a mean that is written out: x.sum() / len(x), (x * mask).sum() / mask.sum()
    y = np.true_divide(a, b)
    if y.dtype.kind == "c":
        return y, (lambda g: g / conjugate(b), lambda g: -g * conjugate(y / b))
    return y, (lambda g: g / b, lambda g: -g * y / b)


@op("..., ... -> ...", ufunc=np.power, method=("__pow__", "__rpow__"), domain=(0.5, 2.0))
def power(a: Any, b: Any) -> OpResult:
    """a ** b; small whole exponents are products, which NumPy's pow is not.

    At a = 0 the gradient to b is 0 (PyTorch's convention), and an exponent of 0 is a constant 1.
    """
    y = _power(a, b)

    def to_base(g: Array) -> Any:
        if isinstance(b, int | float | complex):
            if b == 2:
                return g * conjugate(TWO.beside(a) * a)
            return np.zeros_like(g) if b == 0 else g * conjugate(b * _power(a, b - 1))
        constant = aside(np.equal, b, 0)
        # 0 ** -1 would be infinite where the product with b = 0 has to be 0.
        return g * conjugate(b * np.power(np.where(constant, 1, a), b - 1))

    def to_exponent(g: Array) -> Any:
        base = np.asarray(a, y.dtype) if isinstance(a, int | float) else a
        nothing = aside(_is_constant, base, b)
        return g * conjugate(y * np.log(np.where(nothing, 1, base)))

    return y, (to_base, to_exponent)


def _is_constant(base: Any, b: Any) -> Any:
    return (base == 0) & (np.real(b) >= 0)


def _power(a: Any, b: Any) -> Any:
    # Whole numbers, booleans and NumPy's own scalars have another dtype in NumPy, or are refused.
    if (type(b) is int or type(b) is float) and a.dtype.kind in "fc" and b in _PRODUCTS:
        return _PRODUCTS[b](a)
    return np.power(a, b)


_PRODUCTS: dict[float, Callable[[Any], Any]] = {
    3: lambda a: a * a * a,
    2: lambda a: a * a,
    1: lambda a: a * 1,
    0: np.ones_like,  # for infinities and NaN too
    -1: lambda a: 1 / a,
    0.5: np.sqrt,  # as in PyTorch
    -0.5: lambda a: 1 / np.sqrt(a),
}
"""Powers at a tenth of NumPy's price."""


def _steps(rng: np.random.Generator) -> list[Sample]:
    a, b, weight = rng.normal(size=(3, 4)), rng.normal(size=4), rng.uniform(0, 1, (3, 1))
    return [((a, b, weight), {}), ((b, a, 0.3), {}), ((a, b, 0.7), {})]


@op("..., ..., ... -> ...", samples=_steps)
def lerp(a: Array, b: Array, weight: Array | float) -> OpResult:
    """a + weight (b - a), exact at weights 0 and 1."""
    step, rest = b - a, 1 - weight
    if np.ndim(weight):
        y = np.where(aside(_is_near, weight), a + weight * step, b - rest * step)
    else:
        y = a + weight * step if _is_near(data_of(weight)) else b - rest * step
    return y, (
        lambda g: g * conjugate(rest),
        lambda g: g * conjugate(weight),
        lambda g: g * conjugate(step),
    )


def _is_near(weight: Any) -> Any:
    return np.abs(weight) < 0.5


@op("... -> ...", ufunc=np.negative, method="__neg__")
def negative(a: Array) -> OpResult:
    """-a."""
    return np.negative(a), lambda g: -g


@op("... -> ...", ufunc=np.positive, method="__pos__", view=True)
def positive(a: Array) -> OpResult:
    """+a: the same memory, as PyTorch's; ``np.copy`` copies."""
    if a.dtype.kind == "b":
        return np.positive(a), as_is  # which says that truth values have no sign
    return np.reshape(a, a.shape), as_is


@op("... -> ...", ufunc=np.absolute, method="__abs__", domain=(0.2, 2.0))
def absolute(a: Array) -> OpResult:
    """|a|; the gradient at 0 is 0."""
    y = np.absolute(a)
    if a.dtype.kind == "c":
        return y, lambda g: g * (a / np.where(aside(np.equal, y, 0), 1, y))
    return y, lambda g: g * aside(np.sign, a)


@op("... -> ...", ufunc=np.square)
def square(a: Array) -> OpResult:
    """a * a."""
    return np.square(a), lambda g: g * 2 * conjugate(a)


@op("... -> ...", ufunc=np.reciprocal, domain=(0.5, 2.0))
def reciprocal(a: Array) -> OpResult:
    """1 / a."""
    y = np.reciprocal(a)
    return y, lambda g: -g * conjugate(y * y)


@op("... -> ...", ufunc=np.sqrt, domain=(0.2, 3.0))
def sqrt(a: Array) -> OpResult:
    """The square root; its gradient at 0 is infinite."""
    y = np.sqrt(a)
    return y, lambda g: g * HALF.beside(g) / conjugate(y)


@op("... -> ...", domain=(0.2, 3.0))
def rsqrt(a: Array) -> OpResult:
    """1 / √a."""
    y = 1 / np.sqrt(a)
    return y, lambda g: g * -0.5 * conjugate(y * y * y)


@op("... -> ...", ufunc=np.cbrt, domain=(0.2, 3.0))
def cbrt(a: Array) -> OpResult:
    """The cube root, of negative numbers too; its gradient at 0 is infinite."""
    y = np.cbrt(a)
    return y, lambda g: g / (3 * y * y)


@op("... -> ...", method="astype", samples=lambda rng: [((rng.normal(size=3),), {"dtype": "f8"})])
def astype(a: Array, *, dtype: DTypeLike) -> OpResult:
    """a in another dtype."""
    return a.astype(dtype), lambda g: g


UFUNCS[np.fabs] = absolute
