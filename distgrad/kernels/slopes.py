"""Twins of the derivatives that are ops themselves, and of ``sigmoid``, whose derivative is one.

The values are compiled; the closures are the ops' own, which gradients of gradients can read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels import pointwise
from distgrad.kernels.arrays import Scalar, blank, in_memory, in_order, suits
from distgrad.kernels.jit import kernel
from distgrad.kernels.recipe import of_two
from distgrad.ops import activation, slopes


def sigmoid(a: Any) -> OpResult | None:
    """The twin of ``ops.sigmoid``."""
    found = pointwise.sigmoid(a)
    return None if found is None else (found[0], activation.of_sigmoid(found[0]))


def tanh_backward(g: Array, y: Array) -> OpResult | None:
    """The twin of ``ops.tanh_backward``."""
    found = of_tanh(y, g)
    return None if found is None else (found[0], slopes.of_tanh_backward(g, y))


def sigmoid_backward(g: Array, y: Array) -> OpResult | None:
    """The twin of ``ops.sigmoid_backward``."""
    found = of_sigmoid(y, g)
    return None if found is None else (found[0], slopes.of_sigmoid_backward(g, y))


def scaled_product(a: Array, b: Array, c: Array, *, factor: float = 1.0) -> OpResult | None:
    """The twin of ``ops.scaled_product`` for arrays of one shape; it lies in memory as ``c``."""
    if type(a) is not np.ndarray or not suits(a, b, c) or not a.shape == b.shape == c.shape:
        return None
    z, order = in_memory(c)
    d, row = blank(a, a.shape, order)
    product_of_three(in_order(a, order), in_order(b, order), z, a.dtype.type(factor), row)
    return d, slopes.of_scaled_product(a, b, c, factor)


@kernel
def product_of_three(a: Array, b: Array, c: Array, factor: Scalar, d: Array) -> None:
    """Let d = factor a b c."""
    for i in range(d.size):
        d[i] = a[i] * b[i] * (factor * c[i])


# Of y and g, in this order: what comes out lies in memory as the first does.


def _tanh_member(F: Any) -> Any:
    one, two = F(1), F(2)

    def value(a: Any, b: Any) -> Any:
        return b * (one - a * a)

    def to_y(g: Any, a: Any, b: Any) -> Any:
        return g * b * (-two * a)

    def to_g(g: Any, a: Any) -> Any:
        return g * (one - a * a)

    return value, to_y, to_g


def _sigmoid_member(F: Any) -> Any:
    one = F(1)

    def value(a: Any, b: Any) -> Any:
        return b * a * (one - a)

    def to_y(g: Any, a: Any, b: Any) -> Any:
        return g * b * (one - (a + a))

    def to_g(g: Any, a: Any) -> Any:
        return g * a * (one - a)

    return value, to_y, to_g


_tanh_member.__name__, _sigmoid_member.__name__ = "tanh_backward", "sigmoid_backward"
of_tanh, of_sigmoid = of_two(_tanh_member), of_two(_sigmoid_member)
