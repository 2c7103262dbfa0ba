"""Piecewise constant functions: their gradient is zero; remainders, whose quotient is constant."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array
from distgrad.ops.elementwise import as_is
from distgrad.ops.helpers import aside


@op("... -> ...", ufunc=np.floor)
def floor(a: Array) -> OpResult:
    """The largest whole number ≤ a; the gradient is 0."""
    return np.floor(a), np.zeros_like


@op("... -> ...", ufunc=np.ceil)
def ceil(a: Array) -> OpResult:
    """The smallest whole number ≥ a; the gradient is 0."""
    return np.ceil(a), np.zeros_like


@op("... -> ...", ufunc=np.trunc, function=np.fix)
def trunc(a: Array) -> OpResult:
    """a without its fraction (np.fix); the gradient is 0."""
    return np.trunc(a), np.zeros_like


@op("... -> ...")
def frac(a: Array) -> OpResult:
    """The fraction of a, with its sign: a - trunc(a)."""
    return a - aside(np.trunc, a), as_is


@op("... -> ...", ufunc=np.rint)
def rint(a: Array) -> OpResult:
    """The nearest whole number, halves to the even one; the gradient is 0."""
    return np.rint(a), np.zeros_like


@op(
    "... -> ...",
    function=(np.round, np.around),
    samples=lambda rng: [((rng.uniform(-2, 2, 3),), s) for s in ({}, {"decimals": 1})],
)
def round_(a: Array, *, decimals: int = 0) -> OpResult:
    """a with ``decimals`` decimals, halves to the even one; the gradient is 0."""
    return np.round(a, decimals), np.zeros_like


@op("... -> ...", ufunc=np.sign, real=True)
def sign(a: Array) -> OpResult:
    """-1, 0 or 1; the gradient is 0."""
    return np.sign(a), np.zeros_like


def _fractions(rng: np.random.Generator) -> list[Sample]:
    a, b = rng.uniform(-2, 2, (2, 3)), rng.uniform(0.5, 2, 3)
    return [((a, b), {}), ((a, -b), {})]


@op(
    "..., ... -> ...",
    ufunc=np.floor_divide,
    method=("__floordiv__", "__rfloordiv__"),
    samples=_fractions,
)
def floor_divide(a: Array | float, b: Array | float) -> OpResult:
    """floor(a / b); the gradients are 0."""
    return np.floor_divide(a, b), (np.zeros_like, np.zeros_like)


@op("..., ... -> ...", ufunc=np.remainder, method=("__mod__", "__rmod__"), samples=_fractions)
def remainder(a: Array | float, b: Array | float) -> OpResult:
    """a - b floor(a / b): the remainder with the sign of b (np.mod)."""
    return np.remainder(a, b), (
        lambda g: g,
        lambda g: g * -aside(np.floor_divide, a, b),
    )


@op("..., ... -> ...", ufunc=np.fmod, samples=_fractions)
def fmod(a: Array | float, b: Array | float) -> OpResult:
    """a - b trunc(a / b): the remainder with the sign of a."""
    return np.fmod(a, b), (
        lambda g: g,
        lambda g: g * -aside(np.trunc, aside(np.true_divide, a, b)),
    )
