"""Reductions: sum, mean, var, max and min over axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import Sample, dispatch, op
from distgrad.ops.helpers import data_of


def _cases(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3, 4))
    settings: list[dict[str, Any]] = [
        {},
        {"axis": 1},
        {"axis": -1, "keepdims": True},
        {"axis": (0, 2)},
        {"axis": (-1, -3), "keepdims": True},
    ]
    return [((x,), s) for s in settings]


def expand(g: Any, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    """Put back the reduced axes of ``g`` (length 1), so that it broadcasts against ``shape``."""
    if axis is None:
        return np.reshape(g, (1,) * len(shape))
    if keepdims:
        return g
    axes = {a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))}
    return np.reshape(g, tuple(1 if i in axes else n for i, n in enumerate(shape)))


def count(shape: tuple[int, ...], axis: Any) -> int:
    """The number of elements that a reduction over ``axis`` folds into one."""
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    total = 1
    for a in axes:
        total *= shape[a]
    return total


@op("... -> ...", function=np.sum, reduces=np.add, samples=_cases)
def sum_(a: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over ``axis`` (all axes if None)."""
    shape = a.shape

    def vjp(g: Any) -> Any:
        return np.broadcast_to(expand(g, shape, axis, keepdims), shape)

    return _total(a, axis, keepdims), vjp


@op("... -> ...", function=np.mean, samples=_cases)
def mean(a: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean over ``axis`` (all axes if None)."""
    shape = a.shape
    n = count(shape, axis)

    def vjp(g: Any) -> Any:
        return np.broadcast_to(expand(g, shape, axis, keepdims) / n, shape)

    return _total(a, axis, keepdims) / n, vjp


@op("... -> ...", function=np.max, reduces=np.maximum, samples=_cases)
def max_(a: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element; equal ones share the gradient evenly (as PyTorch's amax)."""
    return _extremum(np.maximum, a, axis, keepdims)


@op("... -> ...", function=np.min, reduces=np.minimum, samples=_cases)
def min_(a: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest element; equal ones share the gradient evenly (as PyTorch's amin)."""
    return _extremum(np.minimum, a, axis, keepdims)


def _extremum(ufunc: np.ufunc, a: Any, axis: Any, keepdims: bool) -> Any:
    shape = a.shape
    y = ufunc.reduce(a, axis=_axes(a, axis), keepdims=keepdims)

    def vjp(g: Any) -> Any:
        hit = (a == expand(y, shape, axis, keepdims)).astype(a.dtype)
        ties = np.add.reduce(hit, axis=_axes(a, axis), keepdims=True)
        return expand(g, shape, axis, keepdims) * (hit / ties)

    return y, vjp


def _total(a: Any, axis: Any, keepdims: Any) -> Any:
    return np.add.reduce(a, axis=_axes(a, axis), keepdims=keepdims)


def _axes(a: Any, axis: Any) -> Any:
    # ufunc.reduce takes axis 0 where np.sum takes all.
    return tuple(range(a.ndim)) if axis is None else axis


@dispatch(np.var)
def var(a: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
    """The variance over ``axis``, composed from means."""
    centred = a - np.mean(a, axis=axis, keepdims=True)
    n = count(a.shape, axis)
    return np.sum(centred * centred, axis=axis, keepdims=keepdims) / (n - ddof)


@dispatch(np.std)
def std(a: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
    """The standard deviation over ``axis``."""
    return np.sqrt(var(a, axis=axis, ddof=ddof, keepdims=keepdims))


@op("... -> ...", samples=_cases)
def logsumexp(a: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """log Σ exp(a) over ``axis``, without overflow."""
    axes = _axes(a, axis)
    # The shift cancels in the gradient, so it may stand outside the tape.
    top = np.maximum.reduce(data_of(a), axis=axes, keepdims=True)
    e = np.exp(a - top)
    total = np.add.reduce(e, axis=axes, keepdims=True)
    y = np.log(total) + top
    shape = a.shape

    def vjp(g: Any) -> Any:
        return expand(g, shape, axis, keepdims) * (e / total)

    return (y if keepdims else np.squeeze(y, axis=axes)), vjp
