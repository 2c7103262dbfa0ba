"""Reductions to one size: norms of any order, and the logarithm of a sum of exponentials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, Axis
from distgrad.ops.helpers import aside, conjugate, in_dtype, in_float32
from distgrad.ops.reduce import axes_of, expand, nonzero, reductions, total


@op("... -> ...", samples=reductions)
@in_float32
def logsumexp(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult:
    """log Σ exp(a) over ``axis``, without overflow; -inf for nothing or for -inf alone."""
    axes = axes_of(a, axis)
    # The shift cancels in the gradient, so it may stand outside the tape.
    top = aside(_top, a, axes)
    e = np.exp(a - top)
    sums = total(e, axis, True)
    with np.errstate(divide="ignore"):
        y = np.log(sums) + top
    shape = a.shape

    def vjp(g: Array) -> Any:
        return expand(g, shape, axis, keepdims) * conjugate(e / nonzero(sums))

    return (y if keepdims else np.squeeze(y, axis=axes)), vjp


def _top(a: Array, axes: Any) -> Array:
    x = np.real(a) if a.dtype.kind == "c" else a
    top = np.maximum.reduce(x, axis=axes, keepdims=True, initial=None if x.size else -np.inf)
    return np.where(np.isfinite(top), top, 0)


def _norms(rng: np.random.Generator) -> list[Sample]:
    x = rng.uniform(0.2, 2, (2, 3, 4)) * rng.choice([-1.0, 1.0], (2, 3, 4))
    orders = [{"ord": p} for p in (2, 1, 0, 3, 1.5, 0.5, -1, math.inf, -math.inf)]
    return [((x,), {**s, "axis": 1}) for s in orders] + [((x,), {"axis": (0, 2), "keepdims": True})]


@op("... -> ...", samples=_norms)
@in_float32
def vector_norm(a: Array, *, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> OpResult:
    """(Σ |a| ** ord) ** (1 / ord) over ``axis``, for inf max |a|, for -inf min |a|, for 0 Σ a ≠ 0.

    The gradient of zeros is 0, as in PyTorch; equal extrema share it evenly.
    """
    y = _norm(a, ord, axis)
    shape = a.shape

    def vjp(g: Array) -> Any:
        g = expand(g, shape, axis, keepdims)
        sign = aside(np.sign, a)
        if ord == 0:
            return fixed(np.zeros(shape, a.dtype))
        if ord == 1:
            return g * sign
        u = np.absolute(a) / nonzero(y)
        if np.isinf(ord):
            hit = aside(in_dtype, aside(np.equal, u, 1), a.dtype)
            return g * aside(_shared, sign, hit, axis)
        if ord == 2:
            return g * (a / nonzero(y))
        return g * sign * np.power(np.where(aside(np.equal, sign, 0), 1, u), ord - 1)

    return (y if keepdims else np.squeeze(y, axis=axes_of(a, axis))), vjp


def _shared(sign: Array, hit: Array, axis: Axis) -> Array:
    return sign * (hit / nonzero(total(hit, axis, True)))


def _norm(a: Array | Tensor, p: float, axis: Axis) -> Any:
    """The norm with its axes kept."""
    if isinstance(a, Tensor):
        # Its own op: the gradient of √0 in steps would be infinite.
        return vector_norm(a, ord=p, axis=axis, keepdims=True)
    if a.dtype.kind == "c":
        raise TypeError("a complex input; pass np.absolute of it")
    z = np.absolute(a)
    if np.isinf(p):
        extremum = np.maximum if p > 0 else np.minimum
        return extremum.reduce(z, axis=axes_of(a, axis), keepdims=True)
    if p == 0:
        return total(z != 0, axis, True).astype(z.dtype)
    if p == 1:
        return total(z, axis, True)
    return np.sqrt(total(z * z, axis, True)) if p == 2 else total(z**p, axis, True) ** (1 / p)
