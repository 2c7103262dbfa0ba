"""Reductions of arrays without values: NumPy's loops, over the elements in NumPy's order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.capture.calls import At, Call, Own, Unlowered, operand, spanned
from distgrad.capture.forms import REDUCE, Form
from distgrad.capture.loops import loop
from distgrad.capture.strides import in_order, merge, order_of

_MOST_CALLS = 256
_MOST_AXES = 4
_BUFFER = 8192
"""Numbers, NumPy's own."""


def summed(
    form: Form,
    out: Form | None,
    a: Any,
    axis: Any = 0,
    dtype: Any = None,
    keepdims: bool = False,
) -> Form:
    """``np.add.reduce``."""
    if a is not form or a.dtype.kind != "f" or not a.size:
        raise Unlowered("a sum of these")
    if a.dtype.itemsize < 4:
        raise Unlowered("a sum in float16")
    if dtype is not None and np.dtype(dtype) != a.dtype:
        raise Unlowered("a sum in another dtype")
    axes, order, out, whole = _shaped(a, out, axis, keepdims)
    zero = a.tape.constant(np.zeros((), a.dtype))  # NumPy's begin: of -0.0 the sum is 0.0
    if all(a.shape[i] == 1 for i in axes):
        a.tape.elementwise(np.add, [zero, a], whole)
        return out
    shape, own, to = _loops(a, whole, axes, order)
    _need_rows(a, to)
    a.tape.elementwise(np.positive, [zero], whole)
    if to[-1]:
        _sums_over(a, out, shape, own, to)
    else:
        _fold(np.add, a, out, 0, shape, own, to)
    return out


def extreme(ufunc: np.ufunc) -> Callable[..., Form]:
    """Return what ``ufunc.reduce`` comes to, which begins with the first elements."""

    def reduce(
        form: Form,
        out: Form | None,
        a: Any,
        axis: Any = 0,
        keepdims: bool = False,
        initial: Any = None,
    ) -> Form:
        if a is not form or a.dtype.char not in "fd" or not a.size or initial is not None:
            raise Unlowered(f"np.{ufunc.__name__}.reduce of these")
        axes, order, out, whole = _shaped(a, out, axis, keepdims)
        first = a[tuple([slice(0, 1) if i in axes else slice(None) for i in range(a.ndim)])]
        a.tape.elementwise(np.positive, [first], whole)
        if all(a.shape[i] == 1 for i in axes):
            return out
        shape, own, to = _loops(a, whole, axes, order)
        if to.count(0) > 1:
            raise Unlowered("an extreme over axes apart")
        _need_rows(a, to)
        along = to.index(0)
        shape[along] -= 1
        _fold(ufunc, a, out, own[along], shape, own, to)
        return out

    return reduce


def _shaped(
    a: Form, out: Form | None, axis: Any, keepdims: bool
) -> tuple[set[int], list[int], Form, Form]:
    """Return the axes, the order of the loops, what is written, and that with all axes."""
    asked = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = {int(i) % a.ndim for i in asked} if a.ndim else set()
    if any(s < 0 for s in a.strides):
        raise Unlowered("steps backwards")
    order = order_of([[0 if n == 1 else s for n, s in zip(a.shape, a.strides, strict=True)]])
    full = tuple([1 if i in axes else n for i, n in enumerate(a.shape)])
    kept = full if keepdims else tuple([n for i, n in enumerate(a.shape) if i not in axes])
    if out is None:
        whole = a.tape.new(full, a.dtype, in_order(full, order, a.itemsize))
    elif out.shape != kept or not out.dense or out.dtype != a.dtype:
        raise Unlowered("an output of another form")
    else:
        if [i for i in order if full[i] > 1] != [i for i in range(a.ndim) if full[i] > 1]:
            raise Unlowered("an output of another order")
        whole = out.reshape(full)
    if out is None:
        out = whole if keepdims else whole.squeeze(tuple(axes))
    return axes, order, out, whole


def _need_rows(a: Form, to: Sequence[int]) -> None:
    """Raise Unlowered where NumPy may copy to its buffer first, and then has longer rows."""
    if not to[-1] and (to.count(0) > 1 or (a.size > _BUFFER and not _without_gaps(a))):
        raise Unlowered("a sum over axes apart")


def _without_gaps(a: Form) -> bool:
    return a.transpose(sorted(range(a.ndim), key=lambda i: -a.strides[i])).dense


def _loops(
    a: Form, whole: Form, axes: set[int], order: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """Return as few loops as do: their lengths, the steps of ``a`` and those of what is written."""
    to = [0 if i in axes else whole.strides[i] for i in order]
    shape, (own, to) = merge([a.shape[i] for i in order], [[a.strides[i] for i in order], to])
    return shape, own, to


def _fold(
    ufunc: np.ufunc,
    a: Form,
    out: Form,
    at: int,
    shape: Sequence[int],
    own: Sequence[int],
    to: Sequence[int],
) -> None:
    """Combine ``out`` with numbers of ``a``, from ``at`` on, as NumPy's reduce does.

    The axes from the outer to the inner one, the steps of both along them: 0 to stay.
    """
    found = loop(ufunc, (a.dtype,) * 3)
    if found is None:
        raise Unlowered(f"np.{ufunc.__name__}.reduce of this dtype")
    outer = range(len(shape) - 1)
    staying = [i for i in outer if not to[i]]
    # One after the other in a call: what is kept, or the last axis of what is summed.
    each = [i for i in outer if to[i] or i == staying[-1]]
    unit = max(each, key=lambda i: shape[i], default=None)
    rest = [i for i in outer if i != unit]
    if math.prod(shape[i] for i in rest) > _MOST_CALLS:
        raise Unlowered("many axes")
    inside = [*([] if unit is None else [unit]), len(shape) - 1]
    lengths = [shape[i] for i in inside]
    for index in itertools.product(*[range(shape[i]) for i in rest]):
        operands = []
        for f, begin, steps in ((out, 0, to), (a, at, own)):
            place = f.offset + begin + sum(k * steps[i] for k, i in zip(index, rest, strict=True))
            here = [steps[i] for i in inside]
            step = 0 if unit is None else steps[unit]
            operands.append(operand(f, place, here, lengths, step, f is out))
        count, steps_inside = lengths[-1], (to[-1], own[-1], to[-1])
        words = [Own(4), Own(7), Own(8), found.data, At(0), At(1), At(0), count, *steps_inside]
        name = f"{ufunc.__name__}.reduce"
        units = 1 if unit is None else shape[unit]
        call = Call(name, found.function, True, words, operands, units)
        call.one_by_one = unit is not None
        a.tape.calls.append(call)


def _sums_over(
    a: Form,
    out: Form,
    shape: Sequence[int],
    own: Sequence[int],
    to: Sequence[int],
) -> None:
    """Do what ``_fold`` does with sums, the inner axis being kept: rows are added to rows."""
    item = a.itemsize
    if len(shape) == 2 and (own, to) == ([shape[1] * item, item], [0, item]):
        a.tape.kernel("add_rows", a.seen_as(shape, own), out.seen_as([shape[1]], [item]))
        return
    if len(shape) > _MOST_AXES or any(s % item for s in own):
        raise Unlowered("many axes")
    missing = _MOST_AXES - len(shape)
    spans = [spanned(f, shape, steps) for f, steps in ((a, own), (out, to))]
    lengths = [*[1] * missing, *shape]
    steps = [[*[0] * missing, *[s // item for s in strides]] for strides in (own, to)]
    a.tape.kernel("add_slices", *spans, *lengths, *steps[0], *steps[1], out=1)


REDUCE.update({np.add: summed, np.maximum: extreme(np.maximum), np.minimum: extreme(np.minimum)})
