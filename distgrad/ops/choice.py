"""Functions that choose: comparisons, maximum and minimum, where, clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, constant, dispatch, op, plain
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Operand
from distgrad.errors import ShapeError
from distgrad.ops.helpers import ZERO, aside, data_of

plain(
    *(np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal),
    *(np.isnan, np.isinf, np.isfinite, np.isposinf, np.isneginf, np.signbit, np.heaviside),
    *(np.logical_and, np.logical_or, np.logical_xor, np.logical_not),
    *(np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert),
    *(np.left_shift, np.right_shift, np.gcd, np.lcm, np.nextafter),
    *(np.isclose, np.allclose, np.array_equal, np.array_equiv),
    *(np.isreal, np.iscomplex, np.isrealobj, np.iscomplexobj),
    *(np.shares_memory, np.may_share_memory, np.result_type, np.unravel_index),
    *(np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.full_like, np.empty_like),
)


@op("..., ... -> ...", ufunc=np.maximum)
def maximum(a: Array | float, b: Array | float) -> OpResult:
    """The larger of a and b; equal elements share the gradient (as in PyTorch)."""
    return np.maximum(a, b), (
        lambda g: g * _share(a > b, a == b),
        lambda g: g * _share(b > a, a == b),
    )


@op("..., ... -> ...", ufunc=np.minimum)
def minimum(a: Array | float, b: Array | float) -> OpResult:
    """The smaller of a and b; equal elements share the gradient (as in PyTorch)."""
    return np.minimum(a, b), (
        lambda g: g * _share(a < b, a == b),
        lambda g: g * _share(b < a, a == b),
    )


def _share(wins: Array | bool, ties: Array | bool) -> Any:
    return wins + np.float16(0.5) * ties


@op("..., ... -> ...", ufunc=np.fmax)
def fmax(a: Array | float, b: Array | float) -> OpResult:
    """The larger of a and b, the other one where one is NaN; of equal ones a gets the gradient."""
    first = aside(_is_first, np.greater_equal, a, b)
    return np.fmax(a, b), (lambda g: g * first, lambda g: g * aside(np.invert, first))


@op("..., ... -> ...", ufunc=np.fmin)
def fmin(a: Array | float, b: Array | float) -> OpResult:
    """The smaller of a and b, the other one where one is NaN; of equal ones a gets the gradient."""
    first = aside(_is_first, np.less_equal, a, b)
    return np.fmin(a, b), (lambda g: g * first, lambda g: g * aside(np.invert, first))


def _is_first(wins: np.ufunc, a: Any, b: Any) -> Any:
    return wins(a, b) | np.isnan(b)


def _sign_beside(a: Any, b: Any) -> Any:
    return np.sign(a) * np.copysign(1, b).astype(a.dtype)


@op("..., ... -> ...", ufunc=np.copysign)
def copysign(a: Any, b: Array | float) -> OpResult:
    """|a| with the sign of b; the gradient to b, and at a = 0, is 0."""
    return np.copysign(a, b), (
        lambda g: g * aside(_sign_beside, a, b),
        np.zeros_like,
    )


@op(
    "..., ..., ... -> ...",
    samples=lambda rng: [
        ((rng.random((2, 3)) < 0.5, rng.normal(size=(2, 3)), rng.normal(size=3)), {}),
    ],
)
def where_(condition: Array, a: Operand, b: Operand) -> OpResult:
    """Elements of a where the condition holds, of b elsewhere."""
    return np.where(condition, a, b), (
        None,
        lambda g: np.where(condition, g, ZERO.beside(g)),
        lambda g: np.where(condition, ZERO.beside(g), g),
    )


@dispatch(np.where)
def where(condition: TensorLike, *choices: TensorLike) -> Any:
    """Elements of the first choice where the condition holds; without choices, np.nonzero."""
    held = constant(condition, "np.where", "the condition")
    return where_(held, *choices) if choices else np.nonzero(held)


@dispatch(np.select)
def select(
    condlist: Sequence[TensorLike], choicelist: Sequence[TensorLike], default: TensorLike = 0
) -> Any:
    """``np.select``: of each element the choice of the first condition that holds."""
    if len(condlist) != len(choicelist) or not condlist:
        raise ShapeError(
            f"np.select takes as many choices as conditions, at least one; got {len(condlist)} "
            f"conditions and {len(choicelist)} choices"
        )
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = where(condition, choice, result)
    return result


def _bounds(rng: np.random.Generator) -> list[Sample]:
    a = rng.uniform(-2, 2, (3, 4))
    low, high = rng.uniform(-2, 0, 4), rng.uniform(-0.5, 2, (3, 1))
    return [((a, -1.0, 0.7), {}), ((a, None, high), {}), ((a, low, None), {}), ((a, low, high), {})]


@op("..., ..., ... -> ...", samples=_bounds)
def clamp(a: Array, low: Array | float | None, high: Array | float | None) -> OpResult:
    """min(max(a, low), high); the gradient goes to a inside the bounds, else to the bound met."""
    if low is None and high is None:
        return aside(np.positive, a), (lambda g: g, None, None)
    lower = -np.inf if low is None else low
    upper = np.inf if high is None else high
    return aside(_clipped, a, low, high), (
        lambda g: g * aside(_inside, a, lower, upper),
        lambda g: g * aside(_below, a, lower, upper),
        lambda g: g * aside(_above, a, lower, upper),
    )


def _inside(x: Array, lower: Any, upper: Any) -> Any:
    return (x >= lower) & (x <= upper)


def _below(x: Array, lower: Any, upper: Any) -> Any:
    return (x < lower) & (lower < upper)


def _above(x: Array, lower: Any, upper: Any) -> Any:
    return (x > upper) | (upper < lower)


def _clipped(x: Array, low: Any, high: Any) -> Any:
    if x.dtype.kind != "f":  # np.clip knows what to do with a bound that is none of the dtype
        return np.clip(x, low, high)
    y = x if low is None else np.maximum(x, low)  # np.clip in half its time
    return y if high is None else np.minimum(y, high)


@dispatch(np.clip)
def clip(
    a: Array | Tensor,
    a_min: TensorLike | None = None,
    a_max: TensorLike | None = None,
    out: None = None,
    *,
    min: TensorLike | None = None,
    max: TensorLike | None = None,
) -> Any:
    """a limited to [a_min, a_max], numbers or arrays; None for no bound (np.clip)."""
    if out is not None:
        raise ShapeError("np.clip on a Tensor does not take out=; drop it")
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise ShapeError("np.clip takes a bound as a_min or as min=, a_max or max=; drop one")
    return clamp(a, min if a_min is None else a_min, max if a_max is None else a_max)


@dispatch(np.nan_to_num)
def np_nan_to_num(
    x: Array | Tensor, copy: bool = True, nan: float = 0.0, **limits: float | None
) -> Any:
    """``np.nan_to_num``, whose second position is ``copy``."""
    return nan_to_num(x, copy=copy, nan=nan, **limits)


def nan_to_num(
    x: Array | Tensor,
    *,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Any:
    """x with numbers for NaN and infinities, to which no gradient flows (np.nan_to_num).

    The second position would be ``copy`` in NumPy and ``nan`` in PyTorch: name them.
    """
    if not copy:
        raise ShapeError("np.nan_to_num on a Tensor always copies; drop copy=False")
    if x.dtype.kind in "fc":
        most = float(np.finfo(x.dtype).max)
        posinf = most if posinf is None else posinf
        neginf = -most if neginf is None else neginf
    return nan_to_num_(x, nan=nan, posinf=posinf, neginf=neginf)


def _with_holes(rng: np.random.Generator) -> list[Sample]:
    given = {"nan": 1.0, "posinf": 2.0, "neginf": -3.0}
    return [((rng.normal(size=(3, 4)),), s) for s in ({}, {"posinf": 2.0}, given)]


@op("... -> ...", samples=_with_holes)
def nan_to_num_(
    a: Array, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> OpResult:
    """a with numbers for NaN and infinities (None: the dtype's extremes); no gradient there."""
    x = data_of(a)
    finite = np.isfinite(x)
    y = np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)
    return y, lambda g: np.where(finite, g, ZERO.beside(g))
