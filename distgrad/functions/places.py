"""Where elements are: flat places as indices, and a fixed number of those that are not 0."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Ints
from distgrad.errors import ShapeError
from distgrad.functions.arguments import shape_of, tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import whole
from distgrad.ops.helpers import data_of

__all__ = ["nonzero_static", "unravel_index"]


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
def nonzero_static(input: TensorLike, *, size: int, fill_value: int = -1) -> Tensor:
    """(size, axes): indices of the first ``size`` elements that are not 0, else ``fill_value``."""
    if size < 0:
        raise ShapeError(f"nonzero_static: size is ≥ 0; got {size}")
    found = np.argwhere(data_of(tensor_of(input)))
    rows = np.full((size, found.shape[1]), fill_value)
    rows[: len(found)] = found[:size]
    return Tensor(rows)
