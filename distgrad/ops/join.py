"""Arrays put together and cut apart: concatenate, stack, split and their relatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.apart import count_of
from distgrad.autograd.methods.spelling import TwoMeanings
from distgrad.autograd.op import OpResult, OpResults, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Closure, Ints
from distgrad.errors import ShapeError
from distgrad.ops.helpers import concatenated, memory_order
from distgrad.ops.shape import axis_numbers

Arrays: TypeAlias = "Sequence[TensorLike] | Tensor"
"""Several arrays: a sequence, or a Tensor's parts along its first axis."""


def _several(rng: np.random.Generator) -> list[Sample]:
    x, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 4))
    return [((x, y), {"axis": -1}), ((x, x), {"axis": -1, "new": True})]


@op("..., ... -> ...", samples=_several)
def join(*arrays: Array, axis: int = 0, new: bool = False) -> OpResult:
    """Arrays one after the other along ``axis`` (np.concatenate), a ``new`` one for np.stack."""
    if not arrays:
        raise ShapeError("no arrays to join: pass one or more")
    if new:
        return _stacked(arrays, axis)
    y = np.concatenate(arrays, axis=axis)
    before = (slice(None),) * (axis % y.ndim)
    vjps: list[Closure] = []
    start = 0
    for a in arrays:
        stop = start + a.shape[axis]
        vjps.append(_part((*before, slice(start, stop))))
        start = stop
    return y, tuple(vjps)


def _stacked(arrays: Sequence[Array], axis: int) -> OpResult:
    shapes = {a.shape for a in arrays}
    if len(shapes) != 1:
        raise ValueError(f"stacked arrays have one shape; got {sorted(shapes)}")
    (shape,) = shapes
    (place,) = axis_numbers(axis, len(shape) + 1, "stack")
    y = np.concatenate([a.reshape((*shape[:place], 1, *shape[place:])) for a in arrays], axis=place)
    before = (slice(None),) * place
    return y, tuple([_part((*before, i)) for i in range(len(arrays))])


def _part(key: Any) -> Closure:
    return lambda g: g[key]


@dispatch(np.concatenate)
def concatenate(arrays: Arrays, axis: int | None = 0) -> Any:
    """Arrays one after the other along ``axis`` (all elements if None)."""
    if axis is None:
        return join(*(np.ravel(a) for a in arrays), axis=0)
    return join(*_as_arrays(arrays), axis=axis)


def _as_arrays(arrays: Arrays) -> list[Any]:
    return [a if hasattr(a, "shape") else np.asarray(a) for a in arrays]


@dispatch(np.stack)
def stack(arrays: Arrays, axis: int = 0) -> Any:
    """Arrays of one shape along a new ``axis``."""
    return join(*_as_arrays(arrays), axis=axis, new=True)


def _with_axes(arrays: Arrays, least: int, given: Callable[[Any], Any]) -> list[Any]:
    """Return the arrays, those of fewer axes than ``least`` as ``given`` makes them."""
    return [a if getattr(a, "ndim", 0) >= least else given(a) for a in arrays]


@dispatch(np.hstack)
def hstack(arrays: Arrays) -> Any:
    """Arrays side by side: along axis 1 (axis 0 for one axis)."""
    parts = _with_axes(arrays, 1, np.atleast_1d)
    return join(*parts, axis=0 if parts and parts[0].ndim == 1 else 1)


@dispatch(np.vstack)
def vstack(arrays: Arrays) -> Any:
    """Arrays as rows, one below the other."""
    return join(*_with_axes(arrays, 2, np.atleast_2d), axis=0)


@dispatch(np.dstack)
def dstack(arrays: Arrays) -> Any:
    """Arrays one behind the other, along axis 2."""
    if arrays and all(np.ndim(a) == 2 for a in arrays):
        return stack(arrays, 2)
    return join(*_with_axes(arrays, 3, np.atleast_3d), axis=2)


@dispatch(np.column_stack)
def column_stack(arrays: Arrays) -> Any:
    """Vectors as columns, and matrices, side by side."""
    return join(*(np.reshape(a, (-1, 1)) if np.ndim(a) < 2 else a for a in arrays), axis=1)


@dispatch(np.append)
def append(arr: TensorLike, values: TensorLike, axis: int | None = None) -> Any:
    """``values`` after ``arr`` along ``axis`` (all elements if None)."""
    return concatenate((arr, values), axis=axis)


# -- cut apart ------------------------------------------------------------------------------------


@op(
    "... -> ..., ...",
    samples=lambda rng: [((rng.normal(size=(2, 6)),), {"indices_or_sections": 3, "axis": 1})],
    view=True,
)
def split_(a: Array, *, indices_or_sections: Ints | Array, axis: int = 0) -> OpResults:
    """Consecutive parts along ``axis``: equal ones for a number, at the given indices otherwise."""
    parts = tuple(np.split(a, indices_or_sections, axis=axis))
    shapes = tuple([p.shape for p in parts])
    dtype, order = a.dtype, memory_order(a)

    def vjp(*gs: Array | None) -> Array:
        whole = [np.zeros(s, dtype) if g is None else g for g, s in zip(gs, shapes, strict=True)]
        return concatenated(whole, axis, order)

    return parts, vjp


@dispatch(np.split)
def np_split(a: Array | Tensor, indices_or_sections: Ints | Array, axis: int = 0) -> Any:
    """``np.split``: so many parts along ``axis``, or cut at the indices (a list)."""
    if isinstance(indices_or_sections, int | np.integer) and indices_or_sections > 0:
        return list(split_(a, indices_or_sections=int(indices_or_sections), axis=axis))
    return array_split(a, indices_or_sections, axis)


@dispatch(np.array_split)
def array_split(a: Array | Tensor, indices_or_sections: Ints | Array, axis: int = 0) -> list[Any]:
    """``split`` whose parts may differ by one in length: the first ones are the longer ones.

    Errors: ShapeError for no parts, or indices that run backwards.
    """
    (axis,) = axis_numbers(axis, a.ndim, "split")
    n = count_of(a, axis)
    if isinstance(indices_or_sections, int | np.integer):
        parts = int(indices_or_sections)
        if parts < 1:
            raise ShapeError(f"split needs at least one part; got {parts}")
        short, longer = divmod(n, parts)
        cuts = [i * short + min(i, longer) for i in range(1, parts)]
    else:
        # As slices take them: from the end if negative, never past it.
        cuts = [slice(int(i), None).indices(n)[0] for i in indices_or_sections]
        if any(j < i for i, j in pairwise(cuts)):
            raise ShapeError(
                f"split: the indices {list(indices_or_sections)} run backwards along an axis of "
                f"length {n}; sort them"
            )
    return list(split_(a, indices_or_sections=cuts, axis=axis))


def _split_numpys(a: Array, *, indices_or_sections: Ints | Array, axis: int = 0) -> list[Any]:
    """``np.split``: so many parts along ``axis``, or cut at the indices."""
    parts: list[Any] = np_split(a, indices_or_sections, axis)
    return parts


def _split_pytorchs(a: Array, *, split_size_or_sections: Ints, dim: int = 0) -> tuple[Any, ...]:
    """``torch.split``: parts of one length along ``dim`` (the last may be shorter), or of several.

    Errors: ShapeError for a length below 1, and for lengths that do not make up the axis.
    """
    (axis,) = axis_numbers(dim, a.ndim, "split")
    n = count_of(a, axis)
    if isinstance(split_size_or_sections, int | np.integer):
        size = int(split_size_or_sections)
        if size < 1:
            raise ShapeError(f"split needs parts of at least one; got split_size {size}")
        cuts = list(range(size, n, size))
    else:
        lengths = [int(length) for length in split_size_or_sections]
        if sum(lengths) != n or min(lengths, default=0) < 0:
            raise ShapeError(f"split: lengths {lengths} do not make up axis {dim} of length {n}")
        cuts = [int(end) for end in np.cumsum(lengths)[:-1]]
    return tuple(split_(a, indices_or_sections=cuts, axis=axis))


split = TwoMeanings(
    _split_numpys,
    _split_pytorchs,
    "ops.split(x, indices_or_sections=2, axis=0) or np.split(x, 2) for two parts, "
    "ops.split(x, split_size_or_sections=2, dim=0) for parts of length 2",
    bare="refused",
    written="ops.split(x, {})",
)


@dispatch(np.hsplit)
def hsplit(a: Array | Tensor, indices_or_sections: Ints | Array) -> Any:
    """``split`` along axis 1 (axis 0 for one axis)."""
    return np_split(a, indices_or_sections, axis=0 if a.ndim == 1 else 1)


@dispatch(np.vsplit)
def vsplit(a: Array | Tensor, indices_or_sections: Ints | Array) -> Any:
    """``split`` along axis 0."""
    return np_split(a, indices_or_sections, axis=0)


@dispatch(np.dsplit)
def dsplit(a: Array | Tensor, indices_or_sections: Ints | Array) -> Any:
    """``split`` along axis 2."""
    return np_split(a, indices_or_sections, axis=2)


@op(
    "... -> ..., ...",
    samples=lambda rng: [((rng.normal(size=(2, 3, 4)),), {"axis": axis}) for axis in (1, 2)],
    view=True,
)
def unstack_(a: Array, *, axis: int) -> OpResults:
    """The slices along ``axis`` (counted from 0), without it."""
    before: Any = (slice(None),) * axis
    parts = tuple([a[(*before, i, ...)] for i in range(a.shape[axis])])
    shape = (*a.shape[:axis], *a.shape[axis + 1 :])
    dtype, order = a.dtype, memory_order(a)

    def vjp(*gs: Array | None) -> Array:
        whole = [np.zeros(shape, dtype) if g is None else g for g in gs]
        return concatenated([np.expand_dims(g, axis) for g in whole], axis, order)

    return parts, vjp


def unstack(a: Array | Tensor, *, axis: int = 0) -> tuple[Any, ...]:
    """The slices along ``axis``, without it."""
    (axis,) = axis_numbers(axis, a.ndim, "unstack")
    return tuple(unstack_(a, axis=axis)) if a.shape[axis] else ()


if hasattr(np, "unstack"):  # NumPy 2.1
    dispatch(np.unstack)(unstack)


def unbind(a: Array | Tensor, dim: int = 0) -> tuple[Any, ...]:
    """The slices along ``dim``, without it (torch.unbind)."""
    return unstack(a, axis=dim)


def chunk(a: Array | Tensor, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most ``chunks`` parts along ``dim``, all of one length but the last (torch.chunk).

    Errors: ShapeError for less than one.
    """
    (axis,) = axis_numbers(dim, a.ndim, "chunk")
    if chunks < 1:
        raise ShapeError(f"chunk needs at least one chunk; got {chunks}")
    n = count_of(a, axis)
    size = -(-n // chunks)
    cuts: Sequence[int] = range(size, n, size) if n else [0] * (chunks - 1)
    return tuple(split_(a, indices_or_sections=list(cuts), axis=axis))


def narrow(a: Array | Tensor, dim: int, start: int, length: int) -> Any:
    """``length`` elements from ``start`` along ``dim`` (torch.narrow). Errors: ShapeError."""
    (axis,) = axis_numbers(dim, a.ndim, "narrow")
    n = count_of(a, axis) if start < 0 else a.shape[axis]
    first = start + n if start < 0 else start
    if not (0 <= first <= n and 0 <= length <= n - first):
        raise ShapeError(
            f"narrow: {length} elements from {start} do not lie in axis {dim} of length {n}"
        )
    return a[(slice(None),) * axis + (slice(first, first + length),)]
