"""Where elements are: flat places as indices, those that are not 0, triangles of a matrix."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from distgrad import kernels
from distgrad.autograd.apart import apart, keeps_form, of_settings
from distgrad.autograd.device import on_cpu
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike, Ints
from distgrad.errors import ShapeError
from distgrad.functions.arguments import shape_of, tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import whole
from distgrad.ops.helpers import data_of

__all__ = ["nonzero_static", "tril_indices", "triu_indices", "unravel_index"]


@apart
@keeps_form
def unravel_index(indices: TensorLike, shape: Ints) -> tuple[Tensor, ...]:
    """The index along each axis of ``shape`` of places that are counted through all elements.

    Negative places count from the end. Errors: ShapeError for one that is not there.
    """
    places = data_of(whole(tensor_of(indices), "unravel_index"))
    sizes = shape_of((shape,))
    count = math.prod(sizes)
    outside = places[(places < -count) | (places >= count)]
    if outside.size:
        raise ShapeError(f"unravel_index: place {outside.flat[0]} of {count}, in shape {sizes}")
    found = np.unravel_index(np.where(places < 0, places + count, places), sizes)
    return tuple([Tensor(np.asarray(axis)) for axis in found])


@with_out
@apart
@keeps_form
def nonzero_static(input: TensorLike, *, size: int, fill_value: int = -1) -> Tensor:
    """(size, axes): indices of the first ``size`` elements that are not 0, else ``fill_value``."""
    if size < 0:
        raise ShapeError(f"nonzero_static: size is ≥ 0; got {size}")
    found = indices_of(data_of(tensor_of(input)))
    rows = np.full((size, found.shape[1]), fill_value)
    rows[: len(found)] = found[:size]
    return Tensor(rows)


def indices_of(a: Array) -> Array:
    """The indices of the elements that are not 0, as rows."""
    twin = kernels.twin("nonzero") if a.size >= _MANY and a.ndim else None
    if twin is not None:
        found: Array = twin(a)
        return found
    return np.array(a.nonzero()).T if a.ndim else np.argwhere(a)


_MANY = 1 << 12
"""Elements: for fewer no kernel is compiled."""


@with_out
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: DTypeLike = np.int64, device: Any = None
) -> Tensor:
    """The places (2, n) of the lower triangle of a matrix, row by row."""
    return _indices(row, col, offset, dtype, device, lower=True)


@with_out
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: DTypeLike = np.int64, device: Any = None
) -> Tensor:
    """The places (2, n) of the upper triangle of a matrix, row by row."""
    return _indices(row, col, offset, dtype, device, lower=False)


@apart
@keeps_form
@of_settings
def _indices(
    row: int, col: int, offset: int, dtype: DTypeLike, device: Any, *, lower: bool
) -> Tensor:
    on_cpu(device)
    rows, columns = max(row, 0), max(col, 0)
    if rows * columns < _MANY and type(rows) is type(columns) is type(offset) is int:
        return Tensor(_small(rows, columns, offset, lower).astype(dtype))
    twin = kernels.twin("triangle") if rows * columns >= _MANY else None
    found = (triangle if twin is None else twin)(rows, columns, offset, lower)
    return Tensor(found.astype(dtype, copy=False))


@functools.lru_cache(maxsize=16)
def _small(rows: int, columns: int, offset: int, lower: bool) -> Array:
    # Models ask for the same few small ones (pairs of features) in each step.
    return triangle(rows, columns, offset, lower)


def triangle(rows: int, columns: int, offset: int, lower: bool) -> Array:
    """The places (2, n) of a triangle, row by row."""
    holds = np.greater_equal if lower else np.less_equal
    mask = holds.outer(np.arange(offset, offset + rows), np.arange(columns))
    return np.array(mask.nonzero())
