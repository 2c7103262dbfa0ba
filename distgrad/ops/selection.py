"""Places of order along an axis, found without putting all in order: single, first, running."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.types import Array
from distgrad.ops.stable_order import stable_order

_MANY = 2048  # elements in all: below, an order costs less than these passes
_ROUNDS, _LONG = 16, 64  # rounds of topk, and elements along the axis that they pay for
_ORDERED = "biuf"


def index_at(data: Array, axis: int, k: int) -> Array:
    """Return what ``stable_order`` has at place ``k``, the axis kept with length 1.

    The k-th smallest value is known by a partition; of those equal to it, as many come before as
    places are left by the smaller ones.
    """
    if data.size < _MANY or data.dtype.kind not in _ORDERED or has_nan(data):
        return stable_order(data, axis).take([k], axis)
    rows = np.ascontiguousarray(np.moveaxis(data, axis, -1))
    value = np.partition(rows, k, axis=-1)[..., k : k + 1]
    before = k - np.count_nonzero(rows < value, axis=-1, keepdims=True)
    equal = rows == value
    index = np.asarray(np.argmax(equal, axis=-1, keepdims=True))
    later = np.squeeze(before > 0, -1)
    if later.any():
        passed = np.cumsum(equal[later], axis=-1, dtype=np.intp) > before[later]
        index[later] = np.argmax(passed, axis=-1, keepdims=True)
    return np.moveaxis(index, -1, axis)


def first_places(data: Array, axis: int, k: int, descending: bool) -> Array | None:
    """Return the first ``k`` of the stable order, round by round; None where that is no gain.

    Each round takes the first of the greatest (smallest) and puts the last value of the dtype in
    its place. That value itself cannot be told from those taken.
    """
    n = data.shape[axis]
    if not 0 < k <= _ROUNDS or n < max(_LONG, 8 * k) or data.size < _MANY:
        return None
    if data.dtype.kind not in "iuf" or (not descending and has_nan(data)):
        return None
    pick = np.argmax if descending else np.argmin
    last = _last(data.dtype, descending)
    rows = np.array(np.moveaxis(data, axis, -1), order="C").reshape(-1, n)
    index, lines = np.empty((len(rows), k), np.intp), np.arange(len(rows))
    for i in range(k):
        place = pick(rows, axis=-1)
        if (rows[lines, place] == last).any():
            return None
        rows[lines, place] = last
        index[:, i] = place
    shape = (*np.delete(data.shape, axis), k)
    return np.ascontiguousarray(np.moveaxis(index.reshape(shape), -1, axis))


def running_places(ufunc: np.ufunc, data: Array, axis: int) -> Array:
    """Return where the extreme so far stands along ``axis``, of equal ones the latest."""
    best = ufunc.accumulate(data, axis=axis)
    # NaN stays once it is met.
    is_best = (data == best) | (data != data)
    place = np.arange(data.shape[axis]).reshape(-1, *(1,) * (data.ndim - 1 - axis))
    found: Array = np.maximum.accumulate(np.where(is_best, place, 0), axis)
    return found


def has_nan(data: Array) -> bool:
    """Return whether a floating-point array has a NaN; others have none."""
    return data.dtype.kind == "f" and bool(np.isnan(data).any())


def _last(dtype: np.dtype, descending: bool) -> float:
    if dtype.kind == "f":
        return -np.inf if descending else np.inf
    limits = np.iinfo(dtype)
    return limits.min if descending else limits.max
