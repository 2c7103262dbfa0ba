"""Tensors put together and taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import count_of, fixed, keeps_form
from distgrad.autograd.methods.calls import call
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Ints
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.functions.arguments import one_axis, tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import alike

__all__ = [
    "cartesian_prod",
    "cat",
    "chunk",
    "column_stack",
    "combinations",
    "concat",
    "concatenate",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "narrow",
    "narrow_copy",
    "row_stack",
    "select",
    "split",
    "split_with_sizes",
    "stack",
    "tensor_split",
    "unbind",
    "unsafe_chunk",
    "unsafe_split",
    "unsafe_split_with_sizes",
    "vsplit",
    "vstack",
]

Tensors = Sequence[TensorLike]


@with_out
def cat(tensors: Tensors, dim: int = 0) -> Tensor:
    """Joined along ``dim``; empty tensors of one axis count for nothing, as in PyTorch."""
    given = alike(tensors)
    kept = [x for x in given if x.shape != (0,)] or given[:1]
    if not kept:
        raise ShapeError("cat needs at least one tensor; got none")
    return call(np.concatenate, kept, dim)  # type: ignore[return-value]


@with_out
def concat(tensors: Tensors, dim: int = 0) -> Tensor:
    """``cat``, by another name."""
    return cat(tensors, dim)


@with_out
def concatenate(tensors: Tensors, dim: int = 0) -> Tensor:
    """``cat``, by NumPy's name."""
    return cat(tensors, dim)


@with_out
def stack(tensors: Tensors, dim: int = 0) -> Tensor:
    """Joined along a new axis ``dim``."""
    return _joined(np.stack, tensors, dim)


@with_out
def hstack(tensors: Tensors) -> Tensor:
    """Joined along axis 1 (axis 0 for one axis)."""
    return _joined(np.hstack, tensors)


@with_out
def vstack(tensors: Tensors) -> Tensor:
    """Joined along axis 0, vectors as rows."""
    return _joined(np.vstack, tensors)


@with_out
def row_stack(tensors: Tensors) -> Tensor:
    """``vstack``, by another name."""
    return vstack(tensors)


@with_out
def dstack(tensors: Tensors) -> Tensor:
    """Joined along axis 2."""
    return _joined(np.dstack, tensors)


@with_out
def column_stack(tensors: Tensors) -> Tensor:
    """Joined along axis 1, vectors and numbers as columns."""
    given = [tensor_of(x) for x in tensors]
    return _joined(np.hstack, [x.reshape(x.size, 1) if x.ndim < 2 else x for x in given])


def _joined(function: Any, tensors: Tensors, *settings: int) -> Tensor:
    given = alike(tensors)
    if not given:
        raise ShapeError(f"{function.__name__} needs at least one tensor; got none")
    return call(function, given, *settings)  # type: ignore[return-value]


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of an element of each vector, as rows."""
    for x in tensors:
        if np.ndim(x) != 1:
            raise ShapeError(f"cartesian_prod takes vectors; got shape {np.shape(x)}")
    if len(tensors) == 1:
        return tensors[0]
    grid: Any = np.meshgrid(*map(tensor_of, tensors), indexing="ij")
    return stack([x.reshape(-1) for x in grid], 1)


def combinations(input: TensorLike, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of ``r`` elements of a vector in order, as rows."""
    x = tensor_of(input)
    if x.ndim != 1:
        raise ShapeError(f"combinations takes a vector; got shape {x.shape}")
    if r < 0:
        raise ShapeError(f"combinations of r={r} elements: r is 0 or more")
    if r == 0:
        return Tensor(fixed(np.zeros(0, x.dtype)))
    rows = _choices(count_of(x), r, 0 if with_replacement else 1)
    return x[fixed(rows)]


def _choices(n: int, r: int, step: int) -> Array:
    """The rising choices of ``r`` of n numbers, each ``step`` or more after the one before it."""
    rows = np.arange(max(n - (r - 1) * step, 0)).reshape(-1, 1)
    for after in range(r - 2, -1, -1):  # so many are to follow the next number
        first = rows[:, -1] + step
        count = n - after * step - first
        starts = np.repeat(first - np.cumsum(count) + count, count)
        longer = np.empty((len(starts), rows.shape[1] + 1), np.int64)
        longer[:, :-1] = np.repeat(rows, count, axis=0)
        np.add(starts, np.arange(len(starts)), out=longer[:, -1])
        rows = longer
    return rows


# -- taken apart ----------------------------------------------------------------------------------


def split(tensor: TensorLike, split_size_or_sections: Ints, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of one length along ``dim`` (the last may be shorter), or of the lengths given."""
    x = tensor_of(tensor)
    dim = one_axis(dim, x.ndim, "split")
    return tuple(ops.split(x, split_size_or_sections=split_size_or_sections, dim=dim))


def _split(input: Tensor, split_size: Ints, dim: int = 0) -> tuple[Tensor, ...]:
    return split(input, split_size, dim)


def split_with_sizes(
    input: TensorLike, split_sizes: Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Parts of the lengths ``split_sizes`` along ``dim``."""
    return split(input, split_sizes, dim)


def tensor_split(
    input: TensorLike, indices_or_sections: Ints | Tensor, dim: int = 0
) -> tuple[Tensor, ...]:
    """So many parts along ``dim``, of nearly one length, or cut at the indices."""
    x = tensor_of(input)
    where: Any = indices_or_sections
    if isinstance(where, Tensor):
        where = where.tolist()
    if np.ndim(where) > 1 or np.asarray(where if np.size(where) else 0).dtype.kind not in "iu":
        raise TypeError(f"tensor_split: indices_or_sections are whole numbers; got {where!r}")
    axis = one_axis(dim, x.ndim, "tensor_split")
    if not isinstance(where, int):
        n = count_of(x, axis)
        ends = [slice(int(i), None).indices(n)[0] for i in where]
        starts = [0, *ends]
        pieces = zip(starts, [*ends, n], strict=True)
        return tuple(narrow(x, axis, a, max(b - a, 0)) for a, b in pieces)
    return tuple(ops.array_split(x, where, axis))


def chunk(input: TensorLike, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts along ``dim``, all of one length but the last."""
    x = tensor_of(input)
    return ops.chunk(x, chunks, one_axis(dim, x.ndim, "chunk"))


def unbind(input: TensorLike, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along ``dim``, without it."""
    return ops.unbind(tensor_of(input), dim)


def unsafe_chunk(input: TensorLike, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """``chunk``: here the parts may always be changed."""
    return chunk(input, chunks, dim)


def unsafe_split(input: TensorLike, split_size: Ints, dim: int = 0) -> tuple[Tensor, ...]:
    """``split``: here the parts may always be changed."""
    return split(input, split_size, dim)


def unsafe_split_with_sizes(
    input: TensorLike, split_sizes: Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """``split_with_sizes``: here the parts may always be changed."""
    return split(input, split_sizes, dim)


def hsplit(input: TensorLike, indices_or_sections: Ints) -> tuple[Tensor, ...]:
    """Equal parts, or parts cut at the indices, along axis 1 (axis 0 for one axis)."""
    x = tensor_of(input)
    return _equal_parts("hsplit", x, indices_or_sections, 0 if x.ndim == 1 else 1, 1)


def vsplit(input: TensorLike, indices_or_sections: Ints) -> tuple[Tensor, ...]:
    """Equal parts, or parts cut at the indices, along axis 0."""
    return _equal_parts("vsplit", tensor_of(input), indices_or_sections, 0, 2)


def dsplit(input: TensorLike, indices_or_sections: Ints) -> tuple[Tensor, ...]:
    """Equal parts, or parts cut at the indices, along axis 2."""
    return _equal_parts("dsplit", tensor_of(input), indices_or_sections, 2, 3)


def _equal_parts(name: str, x: Tensor, where: Any, axis: int, least: int) -> tuple[Tensor, ...]:
    if x.ndim < least:
        raise ShapeError(f"{name} takes {least} axes or more; got shape {x.shape}")
    if isinstance(where, int) and (where < 1 or x.shape[axis] % where):
        raise ShapeError(
            f"{name}: axis {axis} of length {x.shape[axis]} has no {where} equal parts"
        )
    return tensor_split(x, where, axis)


def narrow(input: TensorLike, dim: int, start: int | Tensor, length: int) -> Tensor:
    """``length`` elements from ``start`` along ``dim``."""
    if isinstance(start, Tensor):
        return _narrow_from(tensor_of(input), dim, start, length)
    return call(ops.narrow, tensor_of(input), dim, int(start), length)


@whole
@keeps_form
def _narrow_from(x: Tensor, dim: int, start: Tensor, length: int) -> Tensor:
    return call(ops.narrow, x, dim, int(start), length)


@with_out
def narrow_copy(input: TensorLike, dim: int, start: int, length: int) -> Tensor:
    """``narrow`` in memory of its own."""
    return narrow(input, dim, start, length).clone()


def select(input: TensorLike, dim: int, index: int) -> Tensor:
    """The slice ``index`` along ``dim``, without that axis."""
    x = tensor_of(input)
    axis = one_axis(dim, x.ndim, "select")
    if not -x.shape[axis] <= index < x.shape[axis]:
        raise ShapeError(f"select: index {index} is out of range for axis {dim} of {x.shape}")
    return x[(slice(None),) * axis + (int(index),)]


METHODS = {name: globals()[name] for name in __all__} | {"split": _split}
"""PyTorch's method calls its setting ``split_size``."""
