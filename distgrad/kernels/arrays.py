"""What twins ask of their arrays, and how they get it.

A twin whose arrays all go through these functions may be run on arrays without values, too: what it
comes to is then what a captured step calls (``on_forms``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np

from distgrad.autograd.types import Array, Shape
from distgrad.ops.helpers import Order, inverse, memory_order

Scalar: TypeAlias = "np.floating[Any]"
"""A number in the arrays' dtype."""
Twin = TypeVar("Twin", bound="Callable[..., Any]")


def suits(first: Array, *others: Array | None) -> bool:
    """Whether all arrays (None is skipped) are filled and plain, all float32 or all float64."""
    # No generator, no function: this runs before every twin, and most are of small arrays.
    dtype = first.dtype
    if dtype.kind != "f" or dtype.itemsize < 4 or dtype.itemsize > 8:
        return False
    kind = type(first)
    if (kind is not np.ndarray and not hasattr(first, "tape")) or not first.size:
        return False
    for a in others:
        if a is not None and (type(a) is not kind or a.dtype != dtype or not a.size):
            return False
    return True


def on_forms(twin: Twin) -> Twin:
    """Declare that a twin may be run on arrays without values (``capture.forms``)."""
    twin.on_forms = True  # type: ignore[attr-defined]
    return twin


def run(
    kernel: Callable[..., Any],
    *args: Any,
    writes: tuple[int, ...],
    units: tuple[int, ...] | None = None,
) -> None:
    """Call a kernel, which writes the arguments of these numbers; the first one is an array.

    With arrays without values it is called whenever the program they belong to runs: for parts of
    the arguments ``units`` at a time, one after the other, where these are rows of numbers.
    """
    if type(args[0]) is np.ndarray:
        kernel(*args)
    else:
        args[0].tape.kernel(kernel, *args, out=writes, units=units)


def empty(like: Array, shape: Shape, dtype: Any = None) -> Array:
    """Return a new array of the kind of ``like``, and of its dtype if none is given."""
    if type(like) is np.ndarray or not hasattr(like, "tape"):  # a number is none
        return np.empty(shape, dtype or like.dtype)
    made: Array = like.tape.new(shape, dtype or like.dtype)
    return made


def zeros(like: Array, shape: Shape) -> Array:
    """Return zeros of the dtype and kind of ``like``."""
    if type(like) is np.ndarray:
        return np.zeros(shape, like.dtype)
    made: Array = like.tape.zeros(shape, like.dtype)  # type: ignore[attr-defined]
    return made


def ones(like: Array, shape: Shape) -> Array:
    """Return ones of the dtype and kind of ``like``."""
    if type(like) is np.ndarray:
        return np.ones(shape, like.dtype)
    made: Array = like.tape.constant(np.ones(shape, like.dtype))  # type: ignore[attr-defined]
    return made


def constant(like: Array, array: Array) -> Array:
    """Return an array that never changes, as the kind that ``like`` is."""
    if type(like) is np.ndarray:
        return array
    made: Array = like.tape.constant(array)  # type: ignore[attr-defined]
    return made


def spanned(a: Array) -> Array:
    """Return the memory from the first element of ``a``, with steps forwards, to the last."""
    if a.flags.c_contiguous:
        return a.reshape(-1)
    item = a.itemsize
    length = 1 + sum((n - 1) * (s // item) for n, s in zip(a.shape, a.strides, strict=True))
    if type(a) is np.ndarray:  # what as_strided does, without its checks
        interface = a.__array_interface__
        interface["shape"], interface["strides"] = (length,), None
        return np.asarray(_Memory(interface, a))
    made: Array = a.seen_as((length,), (item,))  # type: ignore[attr-defined]
    return made


def readable(a: Array) -> Array:
    """Return the same memory as kernels are compiled for it, though it may not be written to."""
    if a.flags.writeable:
        return a
    interface = a.__array_interface__
    interface["data"] = interface["data"][0], False
    return np.asarray(_Memory(interface, a))


class _Memory:
    """NumPy's interface of arrays, to memory that another one holds."""

    def __init__(self, interface: dict[str, Any], held: Array) -> None:
        self.__array_interface__ = interface
        self._held = held


def dense(a: Array) -> Array:
    """Return ``a`` as kernels are compiled for it: contiguous and writable, copied if need be."""
    flags = a.flags
    return a if flags.c_contiguous and flags.writeable else a.copy()


def flat(a: Array) -> Array:
    """Return ``dense(a)`` with one axis."""
    return dense(a).reshape(-1)


def in_memory(a: Array) -> tuple[Array, Order]:
    """Return the elements in a row, as they lie in memory if it has no gaps, and the axes' order.

    What has gaps, or cannot be written to, is copied.
    """
    flags = a.flags
    if flags.c_contiguous and flags.writeable:
        return (a if a.ndim == 1 else a.reshape(-1)), None
    order = memory_order(a) if flags.writeable else None
    if order is not None:
        turned = a.transpose(order)
        if turned.flags.c_contiguous:
            return turned.reshape(-1), order
    return a.copy().reshape(-1), None


def in_order(a: Array, order: Order) -> Array:
    """Return the elements in a row, the axes in an ``order`` that another array had in memory."""
    turned = a if order is None else a.transpose(order)
    flags = turned.flags
    if flags.c_contiguous and flags.writeable:
        return turned if turned.ndim == 1 else turned.reshape(-1)
    return turned.copy().reshape(-1)


def blank(like: Array, shape: Shape, order: Order) -> tuple[Array, Array]:
    """Return a new array as ``empty`` does, its axes in ``order`` in memory, and it in a row."""
    if order is None:
        a = empty(like, shape)
        return a, a if len(shape) == 1 else a.reshape(-1)
    row = empty(like, (math.prod(shape),))
    turned = row.reshape([shape[i] for i in order])
    return turned.transpose(inverse(order)), row


# Channels-last: the shape stays (n, c, …), in memory the channels of a place lie side by side.
_LAST = {2: (0, 1), 3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}
_FIRST = {2: (0, 1), 3: (0, 2, 1), 4: (0, 3, 1, 2), 5: (0, 4, 1, 2, 3)}


def lies_last(a: Array) -> bool:
    """Whether ``a`` (n, c, …) of two to five axes has its channels last in memory, without gaps."""
    order = _LAST.get(a.ndim)
    return order is not None and bool(a.transpose(order).flags.c_contiguous)


def channels_last(a: Array) -> Array:
    """Return (n, c, …) as ``dense`` (n, …, c), copied if need be."""
    return dense(a.transpose(_LAST[a.ndim]))


def channels_first(a: Array) -> Array:
    """Return (n, …, c) as (n, c, …), the memory as it is."""
    return a.transpose(_FIRST[a.ndim])
