"""Running sums and products along an axis, and differences.

Gradients run the other way: an affine recurrence, solved by doubling, without a division.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import Op, OpResult, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Axis
from distgrad.errors import ShapeError
from distgrad.ops.calls import as_numpy
from distgrad.ops.helpers import conjugate
from distgrad.ops.reduce import axes_of, expand


def _lines(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3, 4))
    x[0, 1, 2] = x[1, 1, 0] = x[1, 2, 0] = 0
    return [((x,), {"axis": axis}) for axis in (0, 1, -1)]


@op("... -> ...", samples=_lines)
def cumsum(a: Array, *, axis: int) -> OpResult:
    """The running sum along ``axis``."""
    return np.cumsum(a, axis=axis), lambda g: _back(np.cumsum(_back(g, axis), axis=axis), axis)


@op("... -> ...", samples=_lines)
def cumprod(a: Array, *, axis: int) -> OpResult:
    """The running product along ``axis``."""
    y = np.cumprod(a, axis=axis)

    def vjp(g: Array) -> Array:
        before = _shifted(y, axis, 1, 1)
        following = _shifted(a, axis, -1, 0)
        return conjugate(before) * _suffix_sums(g, conjugate(following), axis)

    return y, vjp


@op("... -> ...", samples=_lines)
def logcumsumexp(a: Array, *, axis: int) -> OpResult:
    """The running log Σ exp(a) along ``axis``, without overflow."""
    again = isinstance(a, Tensor)
    y = logcumsumexp(a, axis=axis) if again else np.logaddexp.accumulate(a, axis=axis)

    def vjp(g: Array) -> Any:
        # y never falls, so no exponent is positive. -inf - -inf would be NaN.
        finite = np.maximum(y, np.finfo(y.dtype).min)
        decay = np.exp(finite - _shifted(finite, axis, -1, np.inf))
        return np.exp(a - finite) * _suffix_sums(g, decay, axis)

    return y, vjp


def _zeros(rng: np.random.Generator) -> list[Sample]:
    one, two = rng.normal(size=(2, 3)), rng.normal(size=(2, 3, 4))
    one[0, 1] = two[0, 1, 2] = two[1, 1, 2] = two[1, 2, 0] = 0
    return [((one,), {}), *(((two,), {"axis": axis}) for axis in (1, (0, -1)))]


@op("... -> ...", reduces=np.multiply, samples=_zeros)
def prod(a: Array, *, axis: Axis = None, keepdims: bool = False) -> OpResult:
    """The product over ``axis`` (all axes if None); zeros have the right gradient too."""
    shape = a.shape
    axes = axes_of(a, axis)

    def vjp(g: Array) -> Array:
        folded = {i % len(shape) for i in (axes if isinstance(axes, tuple) else (axes,)) if shape}
        order = [*(i for i in range(len(shape)) if i not in folded), *sorted(folded)]
        moved = np.transpose(a, order)
        kept = len(shape) - len(folded)
        rows = np.reshape(moved, (*moved.shape[:kept], math.prod(moved.shape[kept:])))
        before = _shifted(np.cumprod(rows, axis=-1), -1, 1, 1)
        after = _back(_shifted(np.cumprod(_back(rows, -1), axis=-1), -1, 1, 1), -1)
        others = np.reshape(before * after, moved.shape)
        others = np.transpose(others, np.argsort(order))
        return expand(g, shape, axis, keepdims) * conjugate(others)

    kept: Any = keepdims
    return np.multiply.reduce(a, axis=axes, keepdims=kept), vjp


def _suffix_sums(g: Array, decay: Array, axis: int) -> Array:
    """s with s[i] = g[i] + decay[i] s[i + 1] along ``axis``: the last is g's own."""
    step, n = 1, g.shape[axis]
    while step < n:
        g = g + decay * _shifted(g, axis, -step, 0)
        decay = decay * _shifted(decay, axis, -step, 0)
        step *= 2
    return g


def _window(axis: int, ndim: int, window: slice) -> tuple[slice, ...]:
    return (slice(None),) * (axis % ndim) + (window,)


def _resized(a: Array | Tensor, axis: int, length: int) -> tuple[int, ...]:
    axis %= a.ndim
    return (*a.shape[:axis], length, *a.shape[axis + 1 :])


def _back(a: Array, axis: int) -> Array:
    """The elements along ``axis`` in reverse."""
    return a[_window(axis, a.ndim, slice(None, None, -1))]


def _shifted(a: Array, axis: int, by: int, fill: float) -> Array:
    """The elements moved ``by`` places along ``axis``, those that fall off dropped."""
    n = a.shape[axis]
    by = max(-n, min(by, n))
    keep = slice(0, n - by) if by > 0 else slice(-by, n)
    kept = a[_window(axis, a.ndim, keep)]
    gap = np.full(
        (*a.shape[: axis % a.ndim], abs(by), *a.shape[axis % a.ndim + 1 :]), fill, a.dtype
    )
    return np.concatenate([gap, kept] if by > 0 else [kept, gap], axis=axis)


as_numpy(np.prod, prod, "axis dtype out keepdims initial where")
as_numpy(np.cumsum, lambda a, **s: _flat_or_along(cumsum, a, **s), "axis dtype out")
as_numpy(np.cumprod, lambda a, **s: _flat_or_along(cumprod, a, **s), "axis dtype out")


def _flat_or_along(scan: Op, a: Array | Tensor, axis: int | None = None) -> Any:
    return scan(np.reshape(a, (-1,)), axis=0) if axis is None else scan(a, axis=axis)


@dispatch(np.diff)
def diff(
    a: Array | Tensor,
    n: int = 1,
    axis: int = -1,
    prepend: TensorLike | None = None,
    append: TensorLike | None = None,
) -> Any:
    """Each element less the one before along ``axis``, ``n`` times over (np.diff)."""
    if n < 0 or a.ndim == 0:
        raise ShapeError(f"np.diff needs an axis and n ≥ 0; got shape {a.shape} and n={n}")
    if n and (prepend is not None or append is not None):
        parts = [_edge(prepend, a, axis), a, _edge(append, a, axis)]
        a = np.concatenate([p for p in parts if p is not None], axis=axis)
    late = _window(axis, a.ndim, slice(1, None))
    early = _window(axis, a.ndim, slice(None, -1))
    for _ in range(n):
        a = a[late] - a[early]
    return a


def _edge(value: TensorLike | None, a: Array | Tensor, axis: int) -> TensorLike | None:
    if value is None or np.ndim(value):
        return value
    value = value if isinstance(value, Tensor) else np.asarray(value, a.dtype)
    return np.broadcast_to(value, _resized(a, axis, 1))


@dispatch(np.trapezoid)
def trapezoid(
    y: TensorLike, x: TensorLike | None = None, dx: TensorLike = 1.0, axis: int = -1
) -> Any:
    """The integral of samples ``y`` along ``axis`` by the trapezoidal rule, at ``x`` or ``dx``."""
    y = y if isinstance(y, Tensor) else np.asarray(y)
    late, early = (_window(axis, y.ndim, s) for s in (slice(1, None), slice(None, -1)))
    width = dx
    if x is not None:
        width = np.diff(x, axis=axis if np.ndim(x) > 1 else -1)
        if width.ndim == 1:
            width = np.reshape(width, [-1 if i == axis % y.ndim else 1 for i in range(y.ndim)])
    return np.sum((y[late] + y[early]) * width * 0.5, axis=axis)
