"""PyTorch's reading and writing along an axis: gather, scatter, index_put, masked_fill….

All are composed of reshape, indexing and its adjoint. Nothing is written in place; where an index
is repeated, sums are taken in an order that the index alone decides, and of several values the last
one stays.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.op import dispatch
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.errors import ShapeError
from distgrad.ops.along import add_along, add_slices, flat, put_along, take_along, with_length
from distgrad.ops.checked import checked_index
from distgrad.ops.helpers import data_of
from distgrad.ops.indexing import as_tensor, plain_index, put_back, set_at
from distgrad.ops.shape import axis_numbers, broadcast_arrays


def gather(x: TensorLike, dim: int, index: TensorLike) -> Tensor:
    """Elements of ``x`` at ``index`` along ``dim``: y[i][j] = x[index[i][j]][j] for dim=0.

    ``index`` has as many axes as ``x`` and may be shorter along the others; y has its shape.
    Errors: ShapeError for other shapes and an index out of range. Source: torch.gather.
    """
    result: Tensor = take_along(as_tensor(x), index=index, axis=dim, name="gather")
    return result


def scatter_add(x: TensorLike, dim: int, index: TensorLike, src: TensorLike) -> Tensor:
    """``x`` with ``src`` added at ``index`` along ``dim``: the adjoint of ``gather``.

    ``index`` may be shorter than ``x`` along the other axes, and than ``src`` along all: only the
    corner of ``src`` that it covers is read. Errors: ShapeError. Source: torch.scatter_add.
    """
    given: Any
    x, given = as_tensor(x), data_of(index)
    short = isinstance(src, Tensor) and src.dtype is x.dtype and src.shape == np.shape(given)
    values = src if short else corner("scatter_add", src, x, np.shape(given))
    result: Tensor = add_along(x, values, index=index, axis=dim, name="scatter_add")
    return result


def scatter(x: TensorLike, dim: int, index: TensorLike, src: TensorLike) -> Tensor:
    """``x`` with the elements at ``index`` along ``dim`` replaced by ``src`` (or one number).

    Errors: ShapeError, as ``scatter_add``. Source: torch.scatter.
    """
    x, shape = as_tensor(x), np.shape(data_of(index))
    if np.ndim(src) == 0:
        values: Any = _broadcast(_like("scatter", src, x), src, shape)
    else:
        values = corner("scatter", src, x, shape)
    result: Tensor = put_along(x, values, index=index, axis=dim, name="scatter")
    return result


def index_select(x: TensorLike, dim: int, index: TensorLike) -> Tensor:
    """The slices of ``x`` at the 1-d ``index`` along ``dim``. Errors: ShapeError out of range."""
    x = as_tensor(x)
    (axis,) = axis_numbers(dim, x.ndim, "index_select")
    rows = _rows("index_select", index, x.shape[axis], axis)
    taken: Any = np.take(x, rows, axis=axis)
    return as_tensor(taken)


def index_add(
    x: TensorLike, dim: int, index: TensorLike, source: TensorLike, alpha: float = 1
) -> Tensor:
    """``x`` with the slices of ``alpha * source`` added at the 1-d ``index`` along ``dim``.

    Errors: ShapeError if ``source`` does not fit or an index is out of range.
    """
    x, source = as_tensor(x), as_tensor(source)
    (axis,) = axis_numbers(dim, x.ndim, "index_add")
    rows = _rows("index_add", index, x.shape[axis], axis)
    if source.shape != (expected := (*x.shape[:axis], rows.size, *x.shape[axis + 1 :])):
        raise ShapeError(f"index_add: source has shape {source.shape}; x and index ask {expected}")
    scaled: Any = source if alpha == 1 else source * alpha
    result: Tensor = add_slices(x, scaled, index=rows, axis=axis)
    return result


def index_put(x: TensorLike, indices: Any, values: TensorLike, accumulate: bool = False) -> Tensor:
    """``x`` as it is after ``x[indices] = values``, or ``+= values`` if ``accumulate``.

    ``indices`` is anything that stands between brackets; ``values`` broadcast to ``x[indices]``.
    With ``accumulate`` repeated indices add up. Errors: ShapeError. Source: torch.index_put.
    """
    x = as_tensor(x)
    given = _like("index_put", values, x)
    if not accumulate:
        result: Tensor = set_at(x, given, index=indices)
        return result
    places = _numbered(x.shape, indices)
    try:
        spread = _broadcast(given, values, places.shape)
    except ValueError as error:
        raise ShapeError(
            f"index_put: values of shape {given.shape} do not broadcast to {places.shape}, the "
            f"shape of x[indices]"
        ) from error
    return added(x, places, spread)


def masked_fill(x: TensorLike, mask: TensorLike, value: TensorLike) -> Tensor:
    """``x`` with ``value`` (a single number) where the boolean ``mask`` (broadcast) holds.

    Errors: ShapeError for another mask or value. Source: torch.masked_fill.
    """
    x = as_tensor(x)
    filler = _like("masked_fill", value, x)
    if filler.ndim:
        raise ShapeError(
            f"masked_fill: value is a single number; got shape {filler.shape}: use np.where"
        )
    return as_tensor(np.where(_mask("masked_fill", mask), filler, x))


def masked_select(x: TensorLike, mask: TensorLike) -> Tensor:
    """The elements of ``x`` where the boolean ``mask`` holds (both broadcast), in a row."""
    whole: Any = as_tensor(x)
    chosen: Any = Tensor(_mask("masked_select", mask))
    if whole.shape != chosen.shape:
        whole, chosen = broadcast_arrays(whole, chosen)
    return as_tensor(whole[chosen])


@dispatch(np.take_along_axis)
def take_along_axis(arr: TensorLike, indices: TensorLike, axis: int | None = -1) -> Any:
    """Elements at ``indices`` along ``axis``; the other axes broadcast (all elements if None).

    Errors: ShapeError for other numbers of axes and an index out of range.
    """
    arr = as_tensor(arr)
    if axis is None:
        return take_along_axis(np.ravel(arr), indices, 0)
    index = indices if isinstance(indices, Tensor) else np.asarray(indices)
    if index.ndim != arr.ndim:
        raise ShapeError(
            f"take_along_axis: the index has {index.ndim} axes, the array {arr.ndim}; make it equal"
        )
    (along,) = axis_numbers(axis, arr.ndim, "take_along_axis")
    n, k = arr.shape[along], index.shape[along]
    if index.size and with_length(arr.shape, along, k) == index.shape:
        return take_along(arr, index=index, axis=along, name="take_along_axis", negative=True)
    rest = np.broadcast_shapes(with_length(arr.shape, along, 1), with_length(index.shape, along, 1))
    if rest != with_length(arr.shape, along, 1):
        arr = np.broadcast_to(arr, with_length(rest, along, n))
    return gather(arr, along, _spread(index, n, along, with_length(rest, along, k)))


@apart
@keeps_form
def _spread(index: TensorLike, length: int, axis: int, shape: Shape) -> Array:
    """NumPy's index into ``length`` elements along ``axis``, counted from 0, in ``shape``."""
    found = checked_index("take_along_axis", index, length, axis)
    return found if found.shape == shape else np.broadcast_to(found, shape)


# -- what they share ------------------------------------------------------------------------------


@apart
@keeps_form
def _rows(name: str, index: TensorLike, length: int, axis: int) -> Array:
    """The 1-d index (or number) of slices along an axis of ``length``, in a row."""
    rows = checked_index(name, index, length, axis, negative=False)
    if rows.ndim > 1:
        raise ShapeError(f"{name} takes a 1-d index; got shape {rows.shape}: use np.take")
    return rows.reshape(-1)


@apart
def _numbered(shape: Shape, indices: Any) -> Array:
    """The positions, among all elements of ``shape``, of those at ``indices``."""
    numbered: Array = np.arange(math.prod(shape)).reshape(shape)
    try:
        return np.asarray(numbered[plain_index(indices)])
    except IndexError as error:
        raise ShapeError(f"index_put: {error}") from error


@apart
@keeps_form
def _mask(name: str, mask: TensorLike) -> Array:
    array = np.asarray(data_of(mask))
    if array.dtype != np.bool_:
        raise ShapeError(f"{name}: the mask must be boolean; got dtype {array.dtype}")
    return array


def _like(name: str, values: TensorLike, x: Tensor) -> Array | Tensor:
    # Numbers go straight to x's dtype: by way of float32 they would lose digits.
    if isinstance(values, Tensor) and values.dtype is x.dtype:
        return values
    given = values if isinstance(values, Tensor) else np.asarray(values)
    if not np.can_cast(given.dtype, x.dtype, "same_kind"):
        raise ShapeError(f"{name}: {given.dtype} does not go into {x.dtype}; use .astype first")
    return given.astype(x.dtype)


def _broadcast(array: Array | Tensor, given: TensorLike, shape: Shape) -> Array | Tensor:
    """``array``, made of what was ``given``, in ``shape``."""
    if isinstance(given, int | float | complex):
        array = Tensor(fixed(np.asarray(array)))
    spread: Array = np.broadcast_to(array, shape)
    return spread


def corner(name: str, src: TensorLike, x: Tensor, shape: tuple[int, ...]) -> Array | Tensor:
    """The part of ``src`` that an index of ``shape`` covers, in x's dtype."""
    values = _like(name, src, x)
    if values.ndim != len(shape) or any(n > m for n, m in zip(shape, values.shape, strict=True)):
        raise ShapeError(
            f"{name}: src of shape {values.shape} does not cover the index of shape {shape}"
        )
    return values if values.shape == shape else values[tuple(slice(n) for n in shape)]


def added(x: Tensor, places: Array, values: Array | Tensor) -> Tensor:
    """``x`` with ``values`` added at ``places`` of all its elements; repeated ones add up."""
    row = np.reshape(values, (-1,))
    total = put_back(row, index=flat(places), shape=(x.size,), dtype=x.dtype)
    return as_tensor(x + np.reshape(total, x.shape))
