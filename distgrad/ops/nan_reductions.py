"""Reductions that leave NaN out: NumPy's nan functions, composed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import dispatch
from distgrad.autograd.tensor import REDUCTIONS, Tensor, TensorLike
from distgrad.autograd.types import Array, Axis
from distgrad.errors import ShapeError
from distgrad.ops.calls import as_numpy
from distgrad.ops.extremum import max_, min_
from distgrad.ops.helpers import data_of
from distgrad.ops.linalg import array_of
from distgrad.ops.measure import logsumexp
from distgrad.ops.reduce import nanmean, sum_, total
from distgrad.ops.scan import prod
from distgrad.ops.stable_order import stable_order


def _filled(a: Array | Tensor, value: float) -> Any:
    return np.where(np.isnan(data_of(a)), np.asarray(value, a.dtype), a)


def _extremum(reduce: Any, worst: float) -> Any:
    def extremum(a: Array | Tensor, *, axis: Axis = None, keepdims: bool = False) -> Any:
        y = reduce(_filled(a, worst), axis=axis, keepdims=keepdims)
        nothing = np.isnan(data_of(a)).all(axis=axis, keepdims=keepdims)
        return np.where(nothing, np.asarray(np.nan, a.dtype), y)

    return extremum


def _nanprod(a: Array | Tensor, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return prod(_filled(a, 1), axis=axis, keepdims=keepdims)


def _nanvar(
    a: Array | Tensor, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False
) -> Any:
    there = ~np.isnan(data_of(a))
    n = np.asarray(total(there.astype(a.dtype), axis, keepdims)) - ddof
    c = _filled(a - nanmean(a, axis=axis, keepdims=True), 0)
    return sum_(c * c, axis=axis, keepdims=keepdims) / np.where(n > 0, n, np.nan).astype(a.dtype)


def _nanstd(
    a: Array | Tensor, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False
) -> Any:
    variance = _nanvar(a, axis=axis, ddof=ddof, keepdims=keepdims)
    zero = data_of(variance) == 0  # where the gradient is 0, as std's
    return np.where(zero, np.zeros((), a.dtype), np.sqrt(np.where(zero, 1, variance)))


_ORDER = "axis out keepdims initial where"
_SPREAD = "axis dtype out ddof keepdims"
as_numpy(np.nanmax, _extremum(max_, -np.inf), _ORDER)
as_numpy(np.nanmin, _extremum(min_, np.inf), _ORDER)
as_numpy(np.nanprod, _nanprod, "axis dtype out keepdims initial where")
as_numpy(np.nanvar, _nanvar, _SPREAD)
as_numpy(np.nanstd, _nanstd, _SPREAD)


@dispatch(np.nancumsum)
def nancumsum(a: TensorLike, axis: int | None = None) -> Any:
    """``np.nancumsum``: running sums, NaN counted as 0."""
    return np.cumsum(_filled(array_of(a), 0), axis)


@dispatch(np.nancumprod)
def nancumprod(a: TensorLike, axis: int | None = None) -> Any:
    """``np.nancumprod``: running products, NaN counted as 1."""
    return np.cumprod(_filled(array_of(a), 1), axis)


@dispatch(np.nanquantile)
def nanquantile(
    a: TensorLike, q: Any, axis: Axis = None, *, method: str = "linear", keepdims: bool = False
) -> Any:
    """``np.nanquantile`` between two elements in proportion; NaN for a row of nothing else."""
    if method != "linear":
        raise ShapeError(f"nanquantile on a Tensor knows method='linear' alone; got {method!r}")
    a = array_of(a)
    levels = np.asarray(data_of(q), np.float64)
    if not ((levels >= 0) & (levels <= 1)).all():
        raise ShapeError(f"nanquantile: q lies in [0, 1] (0 to 100 for percentile); got {levels}")
    axes = range(a.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    folded = sorted(i % a.ndim for i in axes)
    kept = [i for i in range(a.ndim) if i not in folded]
    front = tuple(a.shape[i] for i in kept)
    length = math.prod(a.shape[i] for i in folded)
    rows = np.reshape(np.transpose(a, [*kept, *folded]), (*front, length))
    order = stable_order(data_of(rows), -1)  # NaN last
    n = (~np.isnan(data_of(rows))).sum(axis=-1, keepdims=True)
    parts = [_level(rows, order, n, float(level)) for level in levels.reshape(-1)]
    shape = tuple(1 if i in folded else a.shape[i] for i in range(a.ndim)) if keepdims else front
    return np.reshape(np.stack(parts), (*levels.shape, *shape))


def _level(rows: Any, order: Array, n: Array, level: float) -> Any:
    place = level * np.maximum(n - 1, 0)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(n - 1, 0))
    ends = [np.take_along_axis(rows, np.take_along_axis(order, i, -1), -1) for i in (low, high)]
    return ends[0] + (ends[1] - ends[0]) * (place - low).astype(rows.dtype)


@dispatch(np.nanpercentile)
def nanpercentile(
    a: TensorLike, q: Any, axis: Axis = None, *, method: str = "linear", keepdims: bool = False
) -> Any:
    """``np.nanpercentile``: ``nanquantile`` at q / 100."""
    level = np.asarray(data_of(q), np.float64) / 100
    return nanquantile(a, level, axis, method=method, keepdims=keepdims)


@dispatch(np.nanmedian)
def nanmedian(a: TensorLike, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """``np.nanmedian``: of an even number of elements the mean of the middle two."""
    return nanquantile(a, 0.5, axis, keepdims=keepdims)


def _logaddexp_reduce(a: Any, axis: Axis = 0, keepdims: bool = False) -> Any:
    """``np.logaddexp.reduce``: log Σ exp(a)."""
    return logsumexp(a, axis=axis, keepdims=keepdims)


def _logaddexp2_reduce(a: Any, axis: Axis = 0, keepdims: bool = False) -> Any:
    """``np.logaddexp2.reduce``: log₂ Σ 2ᵃ."""
    return logsumexp(a * math.log(2), axis=axis, keepdims=keepdims) / math.log(2)


REDUCTIONS[np.logaddexp] = _logaddexp_reduce
REDUCTIONS[np.logaddexp2] = _logaddexp2_reduce
