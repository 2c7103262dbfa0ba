"""What a mask picks, its way back, and of two the one it names. Imports numba.

No branch for each number: the processor foresees few masks, and waits where it was wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.faster import MANY
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import dense, flat, in_order, suits
from distgrad.kernels.jit import exact_kernel
from distgrad.kernels.scalars import least
from distgrad.ops.helpers import ZERO, memory_order
from distgrad.ops.indexing import put_back

_BITS: dict[int, Any] = {4: np.uint32, 8: np.uint64}


def picked(a: Array, mask: Array) -> Array | None:
    """Return the elements of ``a`` where ``mask``, of its shape, holds, in a row."""
    bits = _BITS.get(a.dtype.itemsize)
    if bits is None or a.dtype.hasobject or a.size < MANY or mask.shape != a.shape:
        return None
    y = np.empty(np.count_nonzero(mask), a.dtype)
    _picked(dense(a).reshape(-1).view(bits), _flags(mask), y.view(bits))
    return y


def put_(a: Array, mask: Array, values: Any) -> bool:
    """Let ``a[mask]`` be ``values`` (as many as are picked, or one); whether that was done."""
    bits = _BITS.get(a.dtype.itemsize)
    if bits is None or a.dtype.hasobject or a.size < MANY or mask.shape != a.shape:
        return False
    if not (a.flags.c_contiguous and a.flags.writeable) or np.may_share_memory(mask, a):
        return False
    y = a.reshape(-1).view(bits)
    if np.ndim(values) == 0:
        number = np.empty(1, a.dtype)
        number[0] = values  # as NumPy converts it, or refuses to
        _fill(_flags(mask), number.view(bits), y)
        return True
    given = type(values) is np.ndarray and values.ndim == 1 and values.dtype == a.dtype
    if not given or not values.size or np.may_share_memory(values, a):
        return False
    if np.count_nonzero(mask) != values.size:
        return False  # one for all, or an error
    _fill(_flags(mask), dense(values).view(bits), y)
    return True


def getitem(a: Array, index: Array) -> OpResult | None:
    """The twin of ``ops.getitem`` for a mask of the array's shape."""
    y = picked(a, index)
    if y is None:
        return None
    shape, dtype, floats = a.shape, a.dtype, suits(a)

    def vjp(g: Any) -> Any:
        if not floats or type(g) is not np.ndarray or g.dtype != dtype:
            return put_back(g, index=index, shape=shape, dtype=dtype)
        d = np.empty(shape, dtype)
        _put_back(dense(g), _flags(index), d.reshape(-1))
        return d

    return y, vjp


def where(condition: Array, a: Any, b: Any) -> OpResult | None:
    """The twin of ``ops.where_``."""
    # Most choices are small ones, which this is to cost little.
    few = type(a) is not np.ndarray or a.size < MANY
    if few and (type(b) is not np.ndarray or b.size < MANY):
        return None
    y = chosen(condition, a, b)
    if y is None:
        return None

    def part(g: Any, *choices: Any) -> Any:
        found = chosen(condition, *choices) if type(g) is np.ndarray else None
        return np.where(condition, *choices) if found is None else found

    return y, (
        None,
        lambda g: part(g, g, ZERO.beside(g)),
        lambda g: part(g, ZERO.beside(g), g),
    )


def chosen(condition: Any, a: Any, b: Any) -> Array | None:
    """Return ``np.where(condition, a, b)``; None for what is left to NumPy."""
    dtype = np.result_type(a, b)
    arrays = [x for x in (a, b) if np.ndim(x)]
    if dtype.itemsize not in _BITS or dtype.hasobject or not arrays:
        return None
    if any(type(x) is not np.ndarray or x.dtype != dtype for x in arrays):
        return None
    if type(condition) is not np.ndarray or condition.dtype != np.bool_:
        return None
    # NumPy says how its result would lie; what lies otherwise is copied, which waits for nothing.
    inputs = [condition, *arrays]
    access: Any = [*[["readonly"] for _ in inputs], ["writeonly", "allocate"]]
    kinds = [*[None for _ in inputs], dtype]
    y = np.nditer([*inputs, None], ["zerosize_ok"], access, kinds).operands[-1]
    shape, order = y.shape, memory_order(y)

    def row(x: Array) -> Array:
        return in_order(x if x.shape == shape else np.broadcast_to(x, shape), order)

    bits = _BITS[dtype.itemsize]
    pair = [(row(x) if np.ndim(x) else np.full(1, x, dtype)).view(bits) for x in (a, b)]
    _choose(row(condition).view(np.uint8), *pair, row(y).view(bits))
    return y


def _flags(mask: Array) -> Array:
    return flat(mask).view(np.uint8)


@exact_kernel
def _picked(a: Array, keep: Array, y: Array) -> None:
    """Write each where the next is to be, and go on if it is picked."""
    end = 0
    for i in range(a.size):
        if end == y.size:
            break
        y[end] = a[i]
        end += keep[i]


@exact_kernel
def _put_back(g: Array, keep: Array, y: Array) -> None:
    """Let y be g where it was picked, else 0; -0 becomes 0, as in sums."""
    end, last = 0, g.size - 1
    zero = y.dtype.type(0)
    for i in range(y.size):
        value = g[least(end, last)] if last >= 0 else zero
        y[i] = value + zero if keep[i] else zero
        end += keep[i]


@exact_kernel
def _choose(keep: Array, a: Array, b: Array, y: Array) -> None:
    """Let y be a where it is to be kept, else b; each may be a single number."""
    if a.size == 1:
        p = a[0]
        for i in range(y.size):
            q = b[i]
            y[i] = p if keep[i] else q
    elif b.size == 1:
        q = b[0]
        for i in range(y.size):
            p = a[i]
            y[i] = p if keep[i] else q
    else:
        for i in range(y.size):
            p, q = a[i], b[i]
            y[i] = p if keep[i] else q


@exact_kernel
def _fill(keep: Array, values: Array, y: Array) -> None:
    """Let y be the next of the values, or the only one, where it is picked."""
    if values.size == 1:
        p = values[0]
        for i in range(y.size):
            q = y[i]
            y[i] = p if keep[i] else q
        return
    end, last = 0, values.size - 1
    for i in range(y.size):
        p, q = values[least(end, last)], y[i]
        y[i] = p if keep[i] else q
        end += keep[i]
