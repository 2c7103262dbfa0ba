"""Norms of many arrays together, summed over fixed-size blocks in double precision (design §4)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import ShapeError

# Below the size at which BLAS would thread a dot product: the order of the sum, and so the bits,
# depend on the parameter's size alone, not on buckets, ranks or threads.
_BLOCK = 8192
_GLANCE = 1 << 20


def total_norm(grads: Iterable[Array], norm_type: float = 2.0) -> float:
    """Return the joint ``norm_type``-norm (any p > 0, or infinity) of all arrays together.

    0 for no arrays; NaN or infinity if an element is. Errors: ShapeError for another norm_type.
    """
    if not norm_type > 0:
        raise ShapeError(f"norm_type must be a number above 0 or infinity; got {norm_type}")
    if norm_type == math.inf:
        # np.max keeps a NaN wherever it stands; Python's max does not.
        return float(np.max([0.0, *(float(np.max(np.abs(g))) for g in grads if g.size)]))
    if norm_type == 2.0:
        return math.sqrt(sum(squares(g) for g in grads))
    arrays = list(grads)
    largest = total_norm(arrays, math.inf)
    if largest == 0 or not math.isfinite(largest):
        return largest
    powers = sum(_powers(g, largest, norm_type) for g in arrays)
    return largest * math.pow(powers, 1 / norm_type)


def squares(g: Array) -> float:
    """Return the sum of the squares; not finite if an element is not or the sum overflows."""
    flat = np.ascontiguousarray(g).reshape(-1)  # BLAS sums strided elements in another order
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # the sum itself tells
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            part = float(np.dot(block, block))
            if not math.isfinite(part):  # the squares may overflow float32 where the norm does not
                wide = block.astype(np.float64)
                part = float(np.dot(wide, wide))
            total += part
    return total


def rough_squares(g: Array) -> float:
    """Return about ``squares(g)``, finite where that is, in a third of its time.

    Its last digits depend on the BLAS and its threads: good for a verdict, not for a norm.
    """
    flat = np.ascontiguousarray(g).reshape(-1)
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # the sum itself tells
        for start in range(0, flat.size, _GLANCE):
            block = flat[start : start + _GLANCE]
            part = float(np.dot(block, block))
            total += part if math.isfinite(part) else squares(block)
    return total


def inner(a: Array, b: Array) -> float:
    """Return the inner product of two flat arrays."""
    pairs = ((a[i : i + _BLOCK], b[i : i + _BLOCK]) for i in range(0, a.size, _BLOCK))
    return float(sum(float(np.dot(x, y)) for x, y in pairs))


def _powers(g: Array, largest: float, p: float) -> float:
    """Return the sum of (|g| / largest)^p, which neither overflows nor vanishes."""
    flat = np.ascontiguousarray(g).reshape(-1)
    total = 0.0
    for start in range(0, flat.size, _BLOCK):
        scaled = np.abs(flat[start : start + _BLOCK].astype(np.float64)) / largest
        total += float(np.add.reduce(scaled if p == 1 else np.power(scaled, p)))
    return total
