"""Arrays whose axes lie in another order in memory, as after a convolution, without a copy.

A twin along one axis does not mind where the others are: it is given the array as it lies in
memory, and what it returns is turned back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from distgrad.autograd.types import Array
from distgrad.ops.helpers import Order, inverse, memory_order

Twin = TypeVar("Twin", bound="Callable[..., Any]")


def lying(a: Array) -> Order:
    """Return the axes in the order in which they lie in memory, without gaps; None if in their own.

    None also for what has gaps.
    """
    order = memory_order(a)
    return None if order is None or not a.transpose(order).flags.c_contiguous else order


def as_it_lies(twin: Twin) -> Twin:
    """Declare that a twin of one array along one ``axis`` takes the axes in any order."""

    @functools.wraps(twin)
    def call(a: Array, *, axis: Any, **settings: Any) -> Any:
        axes = a.ndim
        order = lying(a) if axes > 1 and type(axis) is int and -axes <= axis < axes else None
        if order is None:
            return twin(a, axis=axis, **settings)
        found = twin(a.transpose(order), axis=order.index(axis % axes), **settings)
        if found is None:
            return None
        (y, vjp), back = found, inverse(order)
        return y.transpose(back), lambda g: vjp(g.transpose(order)).transpose(back)

    return call  # type: ignore[return-value]
