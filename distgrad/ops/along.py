"""Reading and writing at an index of its own for each line along an axis, and the gradients."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.errors import ShapeError
from distgrad.ops.checked import checked_index
from distgrad.ops.helpers import integers
from distgrad.ops.indexing import put_back
from distgrad.ops.shape import axis_numbers


def _places_along(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3, 2))
    shapes = [((2, 5, 2), 1), ((1, 4, 1), 1), ((2, 3, 4), -1)]
    return [((x,), {"index": rng.integers(0, 2, s), "axis": axis}) for s, axis in shapes]


def _reads(rng: np.random.Generator) -> list[Sample]:
    cases = _places_along(rng)
    x, index = cases[0][0][0], rng.integers(0, 3, (2, 1, 2))
    return [*cases, ((x,), {"index": index, "axis": 1, "drop": True})]


def _writes(rng: np.random.Generator) -> list[Sample]:
    return [
        ((*inputs, rng.normal(size=s["index"].shape)), s)  # some places are written twice
        for inputs, s in _places_along(rng)
    ]


@op("... -> ...", samples=_reads)
def take_along(
    a: Array,
    *,
    index: TensorLike,
    axis: int,
    name: str = "take_along",
    negative: bool = False,
    drop: bool = False,
) -> OpResult:
    """The elements at ``index`` along ``axis``; it is no longer than a along the others.

    ``negative`` ones count from the end, if that is allowed. ``drop``: the axis, of length 1 in the
    index, is left out of the result.
    """
    places = places_of(name, a.shape, axis, index, negative)
    shape, dtype, form = a.shape, a.dtype, places.shape
    y: Any = np.reshape(a, (-1,))[places]
    return np.squeeze(y, axis) if drop else y, lambda g: _put_back(
        np.reshape(g, form), places, shape, dtype
    )


@op("..., ... -> ...", samples=_writes)
def add_along(
    a: Array, src: Array, *, index: TensorLike, axis: int, name: str = "add_along"
) -> OpResult:
    """``a`` with ``src`` (of the index's shape) added at ``index`` along ``axis``."""
    places = places_of(name, a.shape, axis, index)
    return a + _put_back(src, places, a.shape, a.dtype), (
        lambda g: g,
        lambda g: np.reshape(g, (-1,))[places],
    )


@op("..., ... -> ...", samples=_writes)
def put_along(
    a: Array, src: Array, *, index: TensorLike, axis: int, name: str = "put_along"
) -> OpResult:
    """``a`` with ``src`` (of the index's shape) put at ``index``; of several the last one stays."""
    places = _places(name, a.shape, axis, index)
    shape, form, dtype = a.shape, places.shape, src.dtype
    written, chosen, stays = _last_of_each(places, shape)
    values = _put_back(np.reshape(src, (-1,))[chosen], written, shape, a.dtype)

    def to_src(g: Array) -> Array:
        return _put_back(np.reshape(g, (-1,))[written], chosen, form, dtype)

    return np.where(stays, a, values), (lambda g: np.where(stays, g, 0), to_src)


@apart
def _last_of_each(places: Array, shape: Shape) -> tuple[Array, Array, Array]:
    """The places that are written to, the last value that comes to each, and where none does."""
    last: Array = np.full(math.prod(shape), -1)
    last[places.reshape(-1)] = np.arange(places.size)
    written = np.flatnonzero(last >= 0)
    return written, last[written], (last < 0).reshape(shape)


def _slices(rng: np.random.Generator) -> list[Sample]:
    a, src, index = rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 4, 2)), np.array([2, 0, 2, 1])
    along = ((a, src), {"index": index, "axis": 1}), ((a[0], src[0]), {"index": index, "axis": 0})
    return list(along)


@op("..., ... -> ...", samples=_slices)
def add_slices(a: Array, src: Array, *, index: Array, axis: int) -> OpResult:
    """``a`` with the slices of ``src`` added at the 1-d ``index``, from 0 on, along ``axis``."""
    rest = (a.shape[axis], *a.shape[:axis], *a.shape[axis + 1 :])
    back = put_back(np.moveaxis(src, axis, 0), index=index, shape=rest, dtype=a.dtype)
    return a + np.moveaxis(back, 0, axis), (lambda g: g, lambda g: np.take(g, index, axis=axis))


def _put_back(g: Array, places: Array, shape: Shape, dtype: Any) -> Array:
    row = np.reshape(g, (-1,))
    size = math.prod(shape)
    return np.reshape(put_back(row, index=flat(places), shape=(size,), dtype=dtype), shape)


@apart
@keeps_form
def places_of(
    name: str, shape: tuple[int, ...], dim: int, index: TensorLike, negative: bool = False
) -> Array:
    """The positions, among all elements of ``shape``, that ``index`` along ``dim`` stands for.

    An op's body asks so too: where it is run again on the tape, a recorded step knows the answer.
    """
    return _places(name, shape, dim, index, negative)


@apart
@keeps_form
def flat(places: Array) -> Array:
    """The places in a row."""
    return places.reshape(-1)


def _places(
    name: str, shape: tuple[int, ...], dim: int, index: TensorLike, negative: bool = False
) -> Array:
    (axis,) = axis_numbers(dim, max(len(shape), 1), name)
    given = integers(index, f"{name}: the index")
    fits = given.ndim == len(shape) and all(
        m <= n for i, (m, n) in enumerate(zip(given.shape, shape, strict=True)) if i != axis
    )
    if not fits:
        raise ShapeError(
            f"{name}: an index of shape {given.shape} does not fit an array of shape {shape}; it "
            f"has as many axes and is no longer along any but axis {axis}"
        )
    if not shape:  # a number counts as an array of one element
        return checked_index(name, given, 1, 0, negative=negative)
    step = math.prod(shape[axis + 1 :])
    places = checked_index(name, given, shape[axis], axis, negative=negative) * step
    if given.size <= _SMALL:
        return places + _first_places(shape, given.shape, axis)
    for part in _parts(shape, given.shape, axis):
        places = places + part
    return places


_SMALL = 1024
"""Elements of an index up to which its places are kept for the next of its shape."""


@functools.lru_cache(maxsize=64)
def _first_places(shape: Shape, of_index: Shape, axis: int) -> Array:
    """The places of an index of zeros along ``axis``."""
    first = np.zeros((1,) * len(shape), np.intp)
    for part in _parts(shape, of_index, axis):
        first = first + part
    return first


def _parts(shape: Shape, of_index: Shape, axis: int) -> Iterator[Array]:
    """What the position along each other axis adds to a place."""
    for i, n in enumerate(of_index):
        if i != axis:
            step = math.prod(shape[i + 1 :])
            yield (np.arange(n) * step).reshape(with_length((1,) * len(shape), i, n))


def with_length(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    """Return the shape with another length along ``axis``."""
    return (*shape[:axis], length, *shape[axis + 1 :])
