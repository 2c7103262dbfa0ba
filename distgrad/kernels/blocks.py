"""Kernels of elementwise ops on inputs of several shapes: broadcast and cut into blocks.

Of an input that is not a row of numbers in memory a block at a time is written out, in the cache.
The bits are those of inputs that were written out as a whole: every number is computed by itself.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Shape
from distgrad.kernels.arrays import blank, in_order
from distgrad.ops.helpers import Order, memory_order

_BLOCK = 1 << 15
"""Numbers of a block: some arrays of them are in the second cache."""
_ndarray = np.ndarray
Source: TypeAlias = "Callable[[tuple[Any, ...], int, int], Array]"


def broadcast(
    made: Any, names: Sequence[str], inputs: Sequence[Any], settings: dict[str, Any]
) -> OpResult | None:
    """Return what the kernels of a recipe make of arrays and numbers; None for the reference."""
    arrays = _of_one_dtype(inputs)
    kernels = made[arrays[0].dtype] if arrays else None
    p = None if kernels is None else kernels.settled(settings)
    if kernels is None or p is None:
        return None
    shape = _shape(tuple([a.shape for a in arrays]))
    if shape is None:
        return None
    order = _order(arrays, shape)
    value = _run(kernels.forward, arrays, shape, order, p)
    kept = dict(zip((*names, "y"), (*arrays, value), strict=True))

    def closure(back: Any) -> Callable[[Array], Array]:
        read = [kept[name] for name in back.reads]
        return lambda g: _run(back.run, [g, *read], shape, order, p)

    return value, tuple([closure(back) for back in kernels.backs])


def applied(
    kernel: Callable[..., None], inputs: Sequence[Any], dtype: np.dtype[Any], *p: Any
) -> Array | None:
    """Return what a kernel makes of arrays of ``dtype`` and numbers; None for the reference."""
    arrays = _of_one_dtype(inputs)
    if not arrays or arrays[0].dtype != dtype:
        return None
    shape = _shape(tuple([a.shape for a in arrays]))
    if shape is None:
        return None
    return _run(kernel, arrays, shape, _order(arrays, shape), p)


def _of_one_dtype(inputs: Sequence[Any]) -> list[Array]:
    """Return the inputs as arrays, numbers in the arrays' dtype; nothing for other inputs."""
    dtype = None
    for x in inputs:
        if type(x) is _ndarray:
            if dtype is not None and x.dtype != dtype:
                return []
            dtype = x.dtype
        elif type(x) is not float and type(x) is not int:
            return []
    if dtype is None:
        return []
    return [x if type(x) is _ndarray else np.asarray(x, dtype) for x in inputs]


@functools.lru_cache(maxsize=256)
def _shape(shapes: tuple[Shape, ...]) -> Shape | None:
    """Return what the shapes broadcast to; None where that is nothing, or has no elements."""
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        return None  # the op says what does not fit
    return None if 0 in shape else shape


def _order(arrays: Sequence[Array], shape: Shape) -> Order:
    """Return the axes' order in the result: it lies as the first input that has its shape."""
    for a in arrays:
        if a.shape == shape:
            return memory_order(a)
    return None


def _run(
    kernel: Callable[..., None], inputs: Sequence[Array], shape: Shape, order: Order, p: Any
) -> Array:
    way = _in_one if math.prod(shape) <= _BLOCK else _in_several
    return way(kernel, inputs, shape, order, p)


def _in_one(
    kernel: Callable[..., None], inputs: Sequence[Array], shape: Shape, order: Order, p: Any
) -> Array:
    result, row = blank(inputs[0], shape, order)
    kernel(*[_written_out(a, shape, order) for a in inputs], row, *p)
    return result


def _written_out(a: Array, shape: Shape, order: Order) -> Array:
    if a.shape == shape:
        return in_order(a, order)
    whole, row = blank(a, shape, order)
    whole[...] = a
    return row


def _in_several(
    kernel: Callable[..., None], inputs: Sequence[Array], shape: Shape, order: Order, p: Any
) -> Array:
    if all(a.shape == shape and _is_row(a, order) for a in inputs):
        return _in_one(kernel, inputs, shape, order, p)
    result, row = blank(inputs[0], shape, order)
    turned = [a if a.shape == shape else np.broadcast_to(a, shape) for a in inputs]
    if order is not None:
        turned = [a.transpose(order) for a in turned]
    shape = turned[0].shape
    axis, step = _cut(shape)
    sources = [_source(a, axis, step) for a in turned]
    rest, begin = math.prod(shape[axis + 1 :]), 0
    for above in itertools.product(*map(range, shape[:axis])):
        for first in range(0, shape[axis], step):
            last = min(first + step, shape[axis])
            index, end = (*above, slice(first, last)), begin + (last - first) * rest
            kernel(*[source(index, begin, end) for source in sources], row[begin:end], *p)
            begin = end
    return result


def _cut(shape: Shape) -> tuple[int, int]:
    """Return the axis that is cut, all later ones being in a block, and how many make a block."""
    axis, rest = len(shape) - 1, 1
    while axis and rest * shape[axis] <= _BLOCK:
        rest *= shape[axis]
        axis -= 1
    return axis, max(1, _BLOCK // rest)


def _is_row(a: Array, order: Order) -> bool:
    flags = (a if order is None else a.transpose(order)).flags
    return bool(flags.c_contiguous and flags.writeable)


def _source(a: Array, axis: int, step: int) -> Source:
    """Return what gives a block as kernels are compiled for it: in a row, and writable."""
    if _is_row(a, None):
        row = a.reshape(-1)
        return lambda index, begin, end: row[begin:end]
    block = (min(step, a.shape[axis]), *a.shape[axis + 1 :])
    memory = np.empty(math.prod(block), a.dtype)
    if not any(a.strides[: axis + 1]):  # one block is as the other
        memory.reshape(block)[...] = a[(0,) * axis][: block[0]]
        return lambda index, begin, end: memory[: end - begin]

    def written_out(index: tuple[Any, ...], begin: int, end: int) -> Array:
        part, row = a[index], memory[: end - begin]
        row.reshape(part.shape)[...] = part
        return row

    return written_out
