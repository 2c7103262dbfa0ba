"""The largest and smallest elements over axes, and where they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.mode import empty_shard
from distgrad.autograd.op import OpResult, op, plain
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, Axis, Ints
from distgrad.ops.calls import as_numpy
from distgrad.ops.helpers import aside
from distgrad.ops.reduce import axes_of, expand, reductions

Weights: TypeAlias = "Callable[[Array, Ints], Array]"

plain(np.argmax, np.argmin, np.nanargmax, np.nanargmin)


@op("... -> ...", samples=reductions)
def amax(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult:
    """The largest element; equal ones share the gradient evenly (as PyTorch's amax)."""
    return _extremum(np.maximum, a, axis, keepdims, _even)


@op("... -> ...", samples=reductions)
def amin(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult:
    """The smallest element; equal ones share the gradient evenly (as PyTorch's amin)."""
    return _extremum(np.minimum, a, axis, keepdims, _even)


@op("... -> ...", reduces=np.maximum, samples=reductions)
def max_(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult:
    """The largest element; the first of equal ones gets the gradient (as PyTorch's max(dim))."""
    return _extremum(np.maximum, a, axis, keepdims, _first)


@op("... -> ...", reduces=np.minimum, samples=reductions)
def min_(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult:
    """The smallest element; the first of equal ones gets the gradient (as PyTorch's min(dim))."""
    return _extremum(np.minimum, a, axis, keepdims, _first)


def _extremum(ufunc: np.ufunc, a: Array, axis: Axis, keepdims: bool, weights: Weights) -> OpResult:
    # The weights of the gradient are constant but for ties: they stand outside the tape.
    axes, shape = axes_of(a, axis), a.shape
    # Of an empty shard it is a number of weight 0, as the mean over nothing.
    reduce = ufunc.reduce if a.size or not empty_shard.get() else np.add.reduce
    y = aside(reduce, a, axis=axes, keepdims=True)

    def vjp(g: Array) -> Any:
        return expand(g, shape, axis, keepdims) * aside(_weights, a, y, weights, axes)

    return (y if keepdims else np.squeeze(y, axis=axes)), vjp


def _weights(x: Array, y: Array, weights: Weights, axes: Ints) -> Array:
    hit = x == y
    if np.count_nonzero(y != y):  # NaN
        hit |= np.isnan(x) & np.isnan(y)
    return weights(hit, axes).astype(x.dtype)


def _even(hit: Array, axes: Ints) -> Array:
    share: Array = hit / np.add.reduce(hit, axis=axes, keepdims=True)
    return share


def _first(hit: Array, axes: Ints) -> Array:
    if hit.ndim and axes in (-1, hit.ndim - 1):
        return _first_of_row(hit)
    axes = sorted(a % hit.ndim for a in (axes if isinstance(axes, tuple) else (axes,)) if hit.ndim)
    order = [i for i in range(hit.ndim) if i not in axes] + axes
    moved = hit.transpose(order)
    kept = len(order) - len(axes)
    rows = moved.reshape(math.prod(moved.shape[:kept]), math.prod(moved.shape[kept:]))
    return _first_of_row(rows).reshape(moved.shape).transpose(np.argsort(order))


def _first_of_row(hit: Array) -> Array:
    first = np.zeros(hit.shape, np.bool_)
    if hit.size:
        length = hit.shape[-1]
        flat = first.reshape(-1)
        flat[hit.argmax(axis=-1).reshape(-1) + np.arange(0, flat.size, length)] = True
    return first


def ptp(a: Array | Tensor, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest element less the smallest over ``axis``."""
    return max_(a, axis=axis, keepdims=keepdims) - min_(a, axis=axis, keepdims=keepdims)


_ORDER = "axis out keepdims initial where"
as_numpy(np.max, max_, _ORDER)
as_numpy(np.min, min_, _ORDER)
as_numpy(np.amax, amax, _ORDER)
as_numpy(np.amin, amin, _ORDER)
as_numpy(np.ptp, ptp, "axis out keepdims")
