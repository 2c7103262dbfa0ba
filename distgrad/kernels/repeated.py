"""Products of one matrix with many, one after the other, as a recurrence has them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels import split_products
from distgrad.kernels.products import in_steps, way_of


def multiplier(a: Array, b: Array, times: int) -> Callable[..., Array]:
    """Return what computes so many products of a and arrays like b, all of them dense.

    A look in a loop is dear, and so is what is done to a each time.
    """
    (m, k), n = a.shape, b.shape[1]
    if a.dtype == np.float32 and split_products.usable() and split_products.repays(m, k, n, times):
        return _by_factor(a)
    way = way_of(a, b)
    if way is None:
        return np.matmul

    def multiply(a: Array, b: Array, out: Array) -> Array:
        way(a, b, out)
        return out

    return multiply


def _by_factor(factor: Array) -> Callable[..., Array]:
    factor, row = in_steps(factor)
    m, k = factor.shape
    turned = factor.strides[1] != factor.itemsize
    far = factor.strides[turned] // factor.itemsize
    parts = np.empty(split_products.parts_of(m, k), factor.dtype)
    room = np.empty(split_products.room(1, k, 1), factor.dtype)
    split_products.split_factor(row, m, k, far, turned, parts)

    def multiply(a: Array, b: Array, out: Array) -> Array:
        n, column, y = b.shape[1], b.reshape(-1), out.reshape(-1)
        split_products.multiply_by_factor(row, column, y, m, k, n, far, turned, parts, room)
        return out

    return multiply
