"""What twins ask of their arrays, and how they get it."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.types import Array

Scalar: TypeAlias = "np.floating[Any]"
"""A number in the arrays' dtype."""


def suits(first: Array, *others: Array | None) -> bool:
    """Whether all arrays (None is skipped) are filled and plain, all float32 or all float64."""
    # No generator, no function: this runs before every twin, and most are of small arrays.
    dtype = first.dtype
    if dtype.kind != "f" or dtype.itemsize < 4 or dtype.itemsize > 8:
        return False
    if type(first) is not np.ndarray or not first.size:
        return False
    for a in others:
        if a is not None and (type(a) is not np.ndarray or a.dtype != dtype or not a.size):
            return False
    return True


def dense(a: Array) -> Array:
    """Return ``a`` as kernels are compiled for it: contiguous and writable, copied if need be."""
    flags = a.flags
    return a if flags.c_contiguous and flags.writeable else np.array(a, order="C")


def flat(a: Array) -> Array:
    """Return ``dense(a)`` with one axis."""
    return dense(a).reshape(-1)
