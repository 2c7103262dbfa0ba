"""NumPy's functions that are no ufuncs, on arrays without values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.capture.calls import Unlowered
from distgrad.capture.forms import FUNCTIONS, Form, laid
from distgrad.capture.strides import in_order, order_of_joined


def _function(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def known(body: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS.update(dict.fromkeys(functions, body))
        return body

    return known


@_function(np.reshape)
def _reshape(a: Form, shape: Any, order: str = "C") -> Form:
    return a.reshape(shape if isinstance(shape, tuple | list) else (shape,), order=order)


@_function(np.expand_dims)
def _expand_dims(a: Form, axis: Any) -> Form:
    axes = axis if isinstance(axis, tuple) else (axis,)
    new = {i % (a.ndim + len(axes)) for i in axes}
    parts = iter(zip(a.shape, a.strides, strict=True))
    both = [(1, 0) if i in new else next(parts) for i in range(a.ndim + len(axes))]
    return a.seen_as([n for n, _ in both], [s for _, s in both])


@_function(np.broadcast_to)
def _broadcast_to(a: Form, shape: Any, subok: bool = False) -> Form:
    wanted = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    extra = len(wanted) - a.ndim
    strides = [0] * extra
    for n, m, s in zip(a.shape, wanted[extra:], a.strides, strict=True):
        if n not in (1, m):
            raise Unlowered("a shape that does not fit")
        strides.append(s if n == m else 0)
    return a.seen_as(wanted, strides)


@_function(np.swapaxes)
def _swapaxes(a: Form, axis1: int, axis2: int) -> Form:
    return a.swapaxes(axis1, axis2)


@_function(np.transpose)
def _transpose(a: Form, axes: Any = None) -> Form:
    return a.transpose(axes) if axes is not None else a.transpose()


@_function(np.empty_like)
def _empty_like(
    a: Form, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
) -> Form:
    if dtype is not None or shape is None or order != "C":
        raise Unlowered("an array like it of another kind")
    new: Form = a.tape.new(tuple(shape), a.dtype)
    return new


@_function(np.concatenate)
def _concatenate(parts: Sequence[Any], axis: int = 0, out: Form | None = None) -> Form:
    first = next(p for p in parts if isinstance(p, Form))
    parts = [first.tape.constant(p) if isinstance(p, np.ndarray) else p for p in parts]
    if not all(isinstance(p, Form) and p.dtype == first.dtype for p in parts):
        raise Unlowered("parts that differ")
    axis %= first.ndim
    shape = list(first.shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    order = order_of_joined([p.shape for p in parts], [p.strides for p in parts])
    strides = in_order(shape, order, first.itemsize)
    new: Form = first.tape.new(tuple(shape), first.dtype, strides) if out is None else out
    begin = 0
    for p in parts:
        place = new[(*(slice(None),) * axis, slice(begin, begin + p.shape[axis]))]
        begin += p.shape[axis]
        if p.size:
            first.tape.elementwise(np.positive, [p], place)
    return new


@_function(np.split)
def _split(a: Form, indices_or_sections: Any, axis: int = 0) -> list[Form]:
    axis %= a.ndim
    length, given = a.shape[axis], indices_or_sections
    if isinstance(given, int):
        if given < 1 or length % given:
            raise Unlowered("parts that differ")
        given = range(length // given, length, length // given)
    ends = [*given, length]
    if not all(0 <= i <= j <= length for i, j in zip([0, *ends], ends, strict=False)):
        raise Unlowered("parts that overlap")
    before = (slice(None),) * axis
    return [a[(*before, slice(int(i), int(j)))] for i, j in zip([0, *ends], ends, strict=False)]


@_function(np.squeeze)
def _squeeze(a: Form, axis: Any = None) -> Form:
    return a.squeeze(axis)


@_function(np.moveaxis)
def _moveaxis(a: Form, source: Any, destination: Any) -> Form:
    from_, to = [
        [int(i) % a.ndim for i in (x if isinstance(x, list | tuple) else (x,))]
        for x in (source, destination)
    ]
    order = [i for i in range(a.ndim) if i not in from_]
    for at, axis in sorted(zip(to, from_, strict=True)):
        order.insert(at, axis)
    return a.transpose(order)


@_function(np.where)
def _where(condition: Any, a: Any, b: Any) -> Form:
    given = [x for x in (condition, a, b) if isinstance(x, Form)]
    tape = given[0].tape
    dtype = np.result_type(*[x if type(x) in (int, float) else x.dtype for x in (a, b)])
    if not isinstance(condition, Form) or condition.dtype != np.bool_ or dtype.char not in "fd":
        raise Unlowered("np.where of these")
    shape = np.broadcast_shapes(
        *[np.shape(x) if not isinstance(x, Form) else x.shape for x in (condition, a, b)]
    )
    out: Form = tape.new(shape, dtype, laid(shape, dtype.itemsize, given))
    order = sorted(range(out.ndim), key=lambda i: -out.strides[i])
    rows = [
        _row(tape, x, np.dtype(t), shape, order)
        for x, t in ((condition, np.bool_), (a, dtype), (b, dtype))
    ]
    tape.kernel("select", *rows, out.transpose(order).reshape(out.size), units=(0, 1, 2, 3))
    return out


def _row(tape: Any, x: Any, dtype: Any, shape: Any, order: Sequence[int]) -> Form:
    """Return numbers as they lie in a row in memory: broadcast, the axes in this order."""
    if not isinstance(x, Form):
        if np.size(x) > 1:
            raise Unlowered("an array of nobody")
        x = tape.constant(np.asarray(x, dtype))
    if x.dtype != dtype:
        x = x.astype(dtype)
    turned = _broadcast_to(x, tuple(shape)).transpose(order)
    row: Form = (turned if turned.dense else turned.copy()).reshape(turned.size)
    return row


@_function(np.zeros_like)
def _zeros_like(a: Form, dtype: Any = None) -> Form:
    if dtype is not None:
        raise Unlowered("zeros of another dtype")
    new: Form = a.tape.new(a.shape, a.dtype, laid(a.shape, a.itemsize, [a]))
    a.tape.elementwise(np.positive, [a.tape.constant(np.zeros((), a.dtype))], new)
    return new


@_function(np.roll)
def _roll(a: Form, shift: Any, axis: Any = None) -> Form:
    if isinstance(shift, tuple) and isinstance(axis, tuple) and len(shift) == len(axis) == 1:
        (shift,), (axis,) = shift, axis
    if axis is None and type(shift) is int:
        rolled: Form = _roll(a.reshape(a.size), shift, 0)
        return rolled.reshape(a.shape)
    if type(shift) is not int or type(axis) is not int or not a.size:
        raise Unlowered("np.roll of these")
    axis %= a.ndim
    n = a.shape[axis]
    shift %= n
    new: Form = a.tape.new(a.shape, a.dtype, laid(a.shape, a.itemsize, [a]))
    before = (slice(None),) * axis
    for part, to in (
        (slice(0, n - shift), slice(shift, n)),
        (slice(n - shift, n), slice(0, shift)),
    ):
        if part.start < part.stop:
            a.tape.elementwise(np.positive, [a[(*before, part)]], new[(*before, to)])
    return new
