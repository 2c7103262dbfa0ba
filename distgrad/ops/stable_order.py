"""NumPy's stable argsort, sooner for numbers within 32 bits: each is sorted with its place."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.types import Array

_LONG, _MANY = 32, 2048  # along the axis, and in all: below, the passes over keys cost more
_PLACE = np.uint64((1 << 32) - 1)
_SIGN = np.uint32(1 << 31)


def stable_order(data: Array, axis: int) -> Array:
    """Return ``np.argsort(data, axis, kind="stable")``: equal elements, and NaNs, as they came.

    A key and, below it, the place are one whole number. No two are equal, so that any sort of them
    is a stable one, NumPy's vectorised one too.
    """
    n = data.shape[axis] if data.ndim else 0
    if n < _LONG or data.size < _MANY or n > _PLACE:
        return data.argsort(axis=axis, kind="stable")
    keys = _keys(np.moveaxis(data, axis, -1))
    if keys is None:
        return data.argsort(axis=axis, kind="stable")
    pairs = keys.astype(np.uint64)
    pairs <<= np.uint64(32)
    pairs |= np.arange(n, dtype=np.uint64)
    pairs.sort(axis=-1)
    pairs &= _PLACE
    return np.ascontiguousarray(np.moveaxis(pairs.view(np.int64), -1, axis)).astype(
        np.intp, copy=False
    )


def _keys(x: Array) -> Array | None:
    """Return whole numbers in the order of ``x``, equal for what is equal; None if 64 bits long."""
    if x.dtype in (np.float16, np.float32):
        x = np.ascontiguousarray(x, np.float32) + np.float32(0)  # -0 and 0 are equal
        # The larger a negative number's bits, the smaller it is; a positive one's follow on them.
        keys = x.view(np.uint32) ^ ((x.view(np.int32) >> 31).view(np.uint32) | _SIGN)
        np.copyto(keys, ~np.uint32(0), where=np.isnan(x))
        return keys
    if x.dtype == np.int32:
        return np.ascontiguousarray(x).view(np.uint32) ^ _SIGN
    if x.dtype == np.uint32:
        return x
    if x.dtype in (np.int64, np.uint64):
        low, high = x.min(), x.max()
        if int(high) - int(low) <= _PLACE:
            return np.asarray(x - low, np.uint32)
    return None
