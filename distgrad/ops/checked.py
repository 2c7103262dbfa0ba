"""Indices that are whole numbers within range, or an error that names the first that is not."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.ops.helpers import aside, data_of, first_outside, integers


def checked_index(
    name: str, index: TensorLike, length: int, axis: int | None, *, negative: bool = True
) -> Array:
    """Return an integer index into ``length`` elements, counted from 0.

    Errors: ShapeError with the caller's ``name`` for other dtypes and an index out of range.
    """
    checked: Array = aside(_checked_index, name, data_of(index), length, axis, negative)
    return checked


def _checked_index(
    name: str, index: TensorLike, length: int, axis: int | None, negative: bool
) -> Array:
    # In one layout, whether or not some are counted from the end: a recorded step may count on it.
    given = np.asarray(integers(index, f"{name}: the index"), np.intp, order="C")
    if not np.count_nonzero(given.view(np.uintp) >= length):
        return given  # the common case: none negative, none out of range
    low = -length if negative else 0
    bad = first_outside(given - low if low else given, length - low)
    if bad is not None:
        where_ = "" if axis is None else f" along axis {axis}"
        raise ShapeError(
            f"{name}: index {bad[0] + low} at position {bad[1]} is out of range for {length} "
            f"elements{where_} ({low}..{length - 1})"
        )
    return np.where(given < 0, given + length, given) if negative else given


def checked_rows(indices: TensorLike, weight: Array | Tensor) -> Array:
    """Return the indices as an integer array. Errors: ShapeError for one out of range."""
    checked: Array = aside(_checked_rows, data_of(indices), weight.shape[0])
    return checked


def _checked_rows(indices: TensorLike, count: int) -> Array:
    rows = integers(indices, "embedding indices")
    bad = first_outside(rows, count)
    if bad is not None:
        raise ShapeError(
            f"embedding: index {bad[0]} at position {bad[1]} is out of range for a table of "
            f"{count} rows (0..{count - 1}); check the vocabulary's size"
        )
    return rows
