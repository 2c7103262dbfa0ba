"""What several ops share: values outside the tape, closures that hold arrays or Tensors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.mode import empty_shard, fused_enabled
from distgrad.autograd.node import Joint
from distgrad.autograd.op import Op
from distgrad.autograd.tensor import Tensor, TensorLike, output
from distgrad.autograd.types import Array, DTypeLike, Operand, Shape
from distgrad.autograd.unfit import array_of
from distgrad.errors import ShapeError

R = TypeVar("R")
X = TypeVar("X")


@overload
def conjugate(z: complex) -> complex: ...
@overload
def conjugate(z: Array) -> Array: ...
def conjugate(z: Operand) -> Operand:
    """The conjugate of complex numbers; real ones as they are, at no cost."""
    if type(z) is not np.ndarray and isinstance(z, int | float | complex):
        return z.conjugate()  # np.conj would make an array of it, whose dtype is no longer weak
    return np.conj(z) if z.dtype.kind == "c" else z


def weak(number: X, other: Any) -> X | Array:
    """Return what is no Python number as it is, one in the dtype that it has beside ``other``.

    A function of a number alone is NumPy's float64, which would make float64 of all.
    """
    if not isinstance(number, int | float):
        return number
    return np.asarray(number, np.result_type(data_of(other), number))


@overload
def data_of(a: Array | Tensor) -> Array: ...
@overload
def data_of(a: X) -> X | Array: ...
def data_of(a: X) -> X | Array:
    """Return the array of a Tensor (or the array itself), for what no gradient flows through."""
    return a.array if isinstance(a, Tensor) else a


def within(x: Array, low: float, high: float) -> bool:
    """Whether all elements lie in [low, high]; NaN, which both searches stop at, does not."""
    if not x.size:
        return True
    # In half the time of comparisons, and a quarter of few; in the order of memory.
    row = x if x.flags.c_contiguous else x.ravel("K")
    return bool(low <= row.item(row.argmin()) and row.item(row.argmax()) <= high)


@apart
@keeps_form
def aside(function: Callable[..., Any], *given: Any, **settings: Any) -> Any:
    """Return what ``function`` makes of arrays, through which no gradient flows.

    Of Tensors' arrays it is Tensors again: where an op is run again on them in a recorded step,
    each replay computes it anew.
    """
    found = function(*map(data_of, given), **settings)
    if not any(isinstance(x, Tensor) for x in given):
        return np.asarray(found) if isinstance(found, np.generic) else found
    if isinstance(found, tuple):
        return tuple([output(a, None, 0) for a in found])
    return output(found, None, 0)


def in_dtype(a: Array, dtype: DTypeLike) -> Array:
    """``a.astype(dtype)`` as a function."""
    return a.astype(dtype)


def either(op: Op, *inputs: Array | Tensor | None, **settings: Any) -> Any:
    """Run ``op`` on arrays or Tensors alike: a gradient closure may hold either."""
    if any(isinstance(x, Tensor) for x in inputs):
        return op(*inputs, **settings)
    return op.function(*inputs, **settings)[0]


def either_fused(op: Op, *inputs: Array | Tensor, **settings: Any) -> Any:
    """Run ``op`` as ``either`` does, by its twin where it has one that takes these arrays."""
    if any(isinstance(x, Tensor) for x in inputs):
        return op(*inputs, **settings)
    lower = getattr(inputs[0], "lowered", None)  # a Form of a captured step, which has no values
    if lower is not None:
        return lower(op, inputs, settings)
    fused = op.fused if fused_enabled.get() else None
    result = None if fused is None else fused(*inputs, **settings)
    return (op.function(*inputs, **settings) if result is None else result)[0]


def fractional(dtype: DTypeLike) -> np.dtype[Any]:
    """Return ``dtype``, or float64 for whole numbers and booleans, of which 1/3 would be 0."""
    found: np.dtype[Any] = np.dtype(dtype)
    return found if found.kind in "fc" else np.dtype(np.float64)


def mean_count(n: int | np.intp | Array | Tensor) -> float | Array:
    """What the sum of ``n`` terms, or of terms of weight ``n``, is divided by for their mean.

    The mean over nothing is NaN, as in NumPy and PyTorch; in an empty shard it is 0.
    """
    if type(n) is int and n:
        return n
    # Not 0: 0 / 0 is NaN too, but with a warning.
    nothing = 1 if empty_shard.get() else math.nan
    return nothing if type(n) is int else np.where(aside(np.equal, n, 0), nothing, n)


def spread(g: Array | Tensor, shape: Shape) -> Array:
    """``np.broadcast_to`` at a fifth of its price: a view that cannot be written to."""
    own = g.shape
    if type(g) is not np.ndarray or len(own) > len(shape):
        return np.broadcast_to(g, shape)
    if g.size == 1:
        strides = (0,) * len(shape)
    elif g.flags.c_contiguous:
        new = len(shape) - len(own)
        lengths = zip(g.strides, own, shape[new:], strict=True)
        strides = (0,) * new + tuple([s if n == m else 0 for s, n, m in lengths])
    else:
        return np.broadcast_to(g, shape)
    view: Array = np.ndarray(shape, g.dtype, g, 0, strides)
    view.setflags(write=False)
    return view


class InDtype(dict[Any, Array]):
    """A number as an array of each dtype that asks: half the price of a number beside an array."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self._number = number

    def __missing__(self, dtype: Any) -> Array:
        """Make it; whole numbers have fractions in float64, as beside Python's numbers."""
        made = self[dtype] = np.asarray(self._number, fractional(dtype))
        return made

    def beside(self, a: Array | Tensor) -> Any:
        """Return it in the dtype of an array; the number itself beside a Tensor."""
        return self[a.dtype] if type(a) is np.ndarray else self._number


ZERO, HALF, ONE, TWO = InDtype(0.0), InDtype(0.5), InDtype(1.0), InDtype(2.0)


_HALF = np.dtype(np.float16)


def in_float32(body: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """Let an op that sums compute float16 in float32, as NumPy's mean does: 256² overflows.

    Its first result is float16 again; statistics beside it stay float32.
    """

    @functools.wraps(body)
    def widened(*inputs: Array | Tensor | None, **settings: Any) -> tuple[Any, Any]:
        if getattr(inputs[0], "dtype", None) != _HALF:
            return body(*inputs, **settings)
        dtypes = [getattr(x, "dtype", _HALF) for x in inputs]
        wide = [
            x.astype(np.float32) if x is not None and d == _HALF else x
            for x, d in zip(inputs, dtypes, strict=True)
        ]
        value, vjps = body(*wide, **settings)
        if any(d.kind in "fc" and d != _HALF for d in dtypes):
            return value, vjps  # promoted by another input
        back: Any
        if isinstance(vjps, Joint):
            back = Joint(_fed_float32(vjps.function, 1))
        elif isinstance(vjps, tuple):
            back = tuple([v and _fed_float32(v) for v in vjps])
        else:
            back = _fed_float32(vjps)
        if isinstance(value, tuple):
            return (value[0].astype(_HALF), *value[1:]), back
        return value.astype(_HALF), back

    return widened


def _fed_float32(vjp: Callable[..., R], first: int = 0) -> Callable[..., R]:
    """Let ``vjp`` take gradients, from its argument ``first`` on, that are not float32."""

    def fed(*args: Any) -> R:
        gs = [None if g is None else g.astype(np.float32) for g in args[first:]]
        return vjp(*args[:first], *gs)  # the engine rounds what it returns

    return fed


def integers(values: TensorLike, what: str) -> Array:
    """Return ``values`` as an integer array. Errors: ShapeError for another dtype."""
    array = array_of(data_of(values))
    if array.dtype.kind not in "iu":
        raise ShapeError(f"{what} must be integers; got dtype {array.dtype}: use .astype(np.int64)")
    return array


def first_outside(values: Array, count: int) -> tuple[int, str] | None:
    """Return the first of ``values`` that is not in 0..count-1, and its index in words."""
    # Negative ones are large where there is no sign: one look instead of two.
    if values.dtype == np.int64 and not np.count_nonzero(values.view(np.uint64) >= count):
        return None
    outside = (values < 0) | (values >= count)
    if not outside.any():
        return None
    at = np.unravel_index(int(np.argmax(outside)), values.shape)
    return int(values[at]), ", ".join(str(int(i)) for i in at) or "()"


Order: TypeAlias = "tuple[int, ...] | None"
"""The axes from the one of longest strides to that of shortest; None where that is their order."""


def memory_order(a: Array | Tensor) -> Order:
    """Return the axes from that of the longest steps to that of the shortest; None for C order."""
    a = data_of(a)
    strides = a.strides
    if a.flags.c_contiguous or min(strides) < 0:
        return None
    if len(strides) == 2:  # the common case
        return (1, 0) if strides[1] > strides[0] else None
    order = tuple(sorted(range(a.ndim), key=lambda i: -a.strides[i]))
    return None if order == tuple(range(a.ndim)) else order


def inverse(order: Shape) -> Shape:
    """Return the order that turns back what ``order`` has turned."""
    return tuple([order.index(i) for i in range(len(order))])


def empty_in(like: Array, order: Order, shape: Sequence[int]) -> Array:
    """Return an empty array of the dtype and kind of ``like``, its axes in this order in memory."""
    if order is None:
        return np.empty_like(like, order="C", shape=tuple(shape))
    whole = np.empty_like(like, order="C", shape=tuple([shape[i] for i in order]))
    return whole.transpose(inverse(order))


def concatenated(parts: Sequence[Array], axis: int, order: Order) -> Array:
    """``np.concatenate``, the axes of what comes out in this order in memory.

    A gradient that lies as the array does is a view where the array was one of another shape.
    """
    if order is None or any(isinstance(p, Tensor) for p in parts):
        return np.concatenate(parts, axis=axis)
    like = next((p for p in parts if type(p) is not np.ndarray), parts[0])  # not a part of zeros
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    return np.concatenate(parts, axis=axis, out=empty_in(like, order, shape))
