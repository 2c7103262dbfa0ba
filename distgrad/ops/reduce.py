"""Reductions over axes: sums, means, variances."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.op import OpResult, Sample, dispatch, op, plain
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, Axis, Shape
from distgrad.errors import ShapeError
from distgrad.ops.calls import as_numpy
from distgrad.ops.helpers import ZERO, aside, data_of, in_float32, mean_count, spread

plain(np.any, np.all, np.count_nonzero)


def reductions(rng: np.random.Generator) -> list[Sample]:
    """Samples of one input, reduced over one, several and all axes."""
    x = rng.normal(size=(2, 3, 4))
    settings: list[dict[str, Any]] = [
        {},
        {"axis": 1},
        {"axis": -1, "keepdims": True},
        {"axis": (0, 2)},
        {"axis": (-1, -3), "keepdims": True},
    ]
    return [((x,), s) for s in settings]


def expand(g: Array, shape: Shape, axis: Axis, keepdims: bool) -> Array:
    """Put back the reduced axes of ``g`` (length 1), so that it broadcasts against ``shape``."""
    if axis is None:
        return g.reshape((1,) * len(shape))
    if keepdims or not shape:
        return g
    axes = {a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))}
    return g.reshape(tuple([1 if i in axes else n for i, n in enumerate(shape)]))


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """The number of elements that a reduction over ``axis`` folds into one."""
    if not shape:
        return 1
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    total = 1
    for a in axes:
        total *= shape[a]
    return total


def total(a: Array, axis: Axis, keepdims: Any) -> Any:
    """np.sum at a third of its price."""
    over = tuple(range(a.ndim)) if axis is None else axis
    return np.add.reduce(a, axis=over, keepdims=keepdims)


def axes_of(a: Array | Tensor, axis: Axis) -> int | Shape:
    """``axis`` for a ufunc's reduce, which takes axis 0 where np.sum takes all."""
    return tuple(range(a.ndim)) if axis is None else axis


@op("... -> ...", reduces=np.add, samples=reductions)
def sum_(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult:
    """The sum over ``axis`` (all axes if None)."""
    shape = a.shape

    def vjp(g: Array) -> Array:
        return spread(expand(g, shape, axis, keepdims), shape)

    return total(a, axis, keepdims), vjp


@op("... -> ...", samples=reductions)
@in_float32
def mean(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult:
    """The mean over ``axis`` (all axes if None)."""
    shape = a.shape
    n = count(shape, axis) or mean_count(0)

    def vjp(g: Array) -> Array:
        return spread(expand(g, shape, axis, keepdims) / n, shape)

    return total(a, axis, keepdims) / n, vjp


@op("... -> ...", samples=reductions)
@in_float32
def var(a: Array, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> OpResult:
    """The variance over ``axis``: squared distances from the mean, summed, over n - ddof."""
    c, n, squares = _centred(a, axis, ddof, keepdims)
    shape = a.shape
    return squares / n, lambda g: expand(g, shape, axis, keepdims) * (2 * c) / n


@op("... -> ...", samples=reductions)
@in_float32
def std(a: Array, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> OpResult:
    """The standard deviation over ``axis``; where it is 0 the gradient is 0."""
    c, n, squares = _centred(a, axis, ddof, keepdims)
    shape = a.shape
    # On a Tensor its own op: the gradient of √0 in steps would be infinite.
    again = isinstance(a, Tensor)
    y = std(a, axis=axis, ddof=ddof, keepdims=keepdims) if again else np.sqrt(squares / n)

    def vjp(g: Array) -> Array:
        return expand(g / nonzero(y), shape, axis, keepdims) * c / n

    return y, vjp


def _centred(
    a: Array, axis: Axis, ddof: float, keepdims: bool
) -> tuple[Array, float | Array, Array]:
    if a.dtype.kind == "c":
        raise TypeError("complex numbers have no variance here; take that of real and imaginary")
    n = count(a.shape, axis)
    c = a - total(a, axis, True) / mean_count(n)
    return c, max(n - ddof, 0) if n else mean_count(0), total(c * c, axis, keepdims)


def nonzero(y: Array | Tensor) -> Array:
    """y with 1 for 0: a divisor of what is 0 there itself."""
    return np.where(aside(np.equal, y, 0), 1, y)


@op("... -> ...", samples=reductions)
def nansum(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult:
    """The sum of what is not NaN over ``axis`` (all axes if None)."""
    shape, there = a.shape, aside(np.logical_not, aside(np.isnan, a))

    def vjp(g: Array) -> Array:
        return np.where(there, spread(expand(g, shape, axis, keepdims), shape), ZERO.beside(g))

    return total(np.where(there, a, np.zeros((), a.dtype)), axis, keepdims), vjp


def nanmean(a: Array | Tensor, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean of what is not NaN over ``axis``; NaN where there is nothing else."""
    return nansum(a, axis=axis, keepdims=keepdims) / _count_there(a, axis, keepdims)


@apart
@keeps_form
def _count_there(a: Array | Tensor, axis: Axis, keepdims: bool) -> Any:
    """How many are not NaN, as a divisor of their sum."""
    there = ~np.isnan(data_of(a))
    if axis is None and not keepdims:
        n = mean_count(int(np.count_nonzero(there)))
        return np.asarray(n, a.dtype if a.dtype.kind in "fc" else None)
    return np.asarray(mean_count(total(there.astype(a.dtype), axis, keepdims)))


@dispatch(np.average)
def average(
    a: Array | Tensor,
    axis: Axis = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    """The mean over ``axis``, weighted by an array of its shape or of one axis's length."""
    if returned:
        raise ShapeError("np.average on a Tensor returns no weights; drop returned=True")
    if weights is None:
        return mean(a, axis=axis, keepdims=keepdims)
    shape = np.shape(weights)
    if shape != a.shape:
        if not isinstance(axis, int) or shape != (a.shape[axis],):
            raise ShapeError(
                f"np.average takes weights of shape {a.shape}, or of one axis's length; got {shape}"
            )
        others = tuple(i for i in range(a.ndim) if i != axis % a.ndim)
        weights = expand(weights, a.shape, others, keepdims=False)
    weights = np.broadcast_to(weights, a.shape)
    weighted = np.sum(a * weights, axis=axis, keepdims=keepdims)
    return weighted / mean_count(np.sum(weights, axis=axis, keepdims=keepdims))


_TYPED = "axis dtype out keepdims initial where"
_SPREAD = "axis dtype out ddof keepdims"
as_numpy(np.sum, sum_, _TYPED)
as_numpy(np.mean, mean, "axis dtype out keepdims where")
as_numpy(np.nansum, nansum, _TYPED)
as_numpy(np.nanmean, nanmean, "axis dtype out keepdims where")
as_numpy(np.var, var, _SPREAD)
as_numpy(np.std, std, _SPREAD)
