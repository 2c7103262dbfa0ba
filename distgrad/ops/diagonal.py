"""Diagonals and triangles of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, Closure, Ints
from distgrad.errors import ShapeError
from distgrad.ops.helpers import data_of, either, either_fused, spread
from distgrad.ops.linalg import arrays
from distgrad.ops.reduce import sum_


def _diagonals(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(3, 2, 4))
    settings: list[dict[str, Any]] = [
        {},
        {"offset": 1, "axis1": 1, "axis2": 2},
        {"offset": -1, "axis1": -1, "axis2": 0},
        {"offset": 9},
    ]
    return [((x,), s) for s in settings]


@op("... -> ...", function=np.diagonal, samples=_diagonals, view=True)
def diagonal(a: Array, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> OpResult:
    """The diagonal of two axes, as a new last axis; ``offset`` counts to the right."""
    shape = a.shape
    value = np.diagonal(a, offset, axis1, axis2)
    if type(a) is np.ndarray and a.flags.writeable:  # NumPy's is not: they used to be copies
        value.flags.writeable = True
    return value, lambda g: either_fused(
        diagonal_fill, g, shape=shape, offset=offset, axis1=axis1, axis2=axis2
    )


@op(
    "... -> ...",
    samples=lambda rng: [
        ((rng.normal(size=(3, 2)),), {"shape": (2, 3, 3), "axis1": 0, "axis2": 2}),
        ((rng.normal(size=(3, 2)),), {"shape": (3, 4, 3), "offset": -2, "axis1": -2, "axis2": 2}),
    ],
)
def diagonal_fill(
    a: Array, *, shape: Ints, offset: int = 0, axis1: int = 0, axis2: int = 1
) -> OpResult:
    """Zeros of ``shape`` with a on the diagonal of two axes."""
    whole = _written(np.zeros(shape, a.dtype), a, offset, axis1, axis2)
    return whole, lambda g: np.diagonal(g, offset, axis1, axis2)


def _places(rng: np.random.Generator) -> list[Sample]:
    a = rng.normal(size=(3, 2, 4))
    return [((a, a[:2, 0].T), {}), ((a, a[:, 0, :1]), {"offset": -1, "axis1": 1, "axis2": -1})]


@dispatch(np.trace)
def trace(a: Array | Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """``np.trace``: the sum of a diagonal."""
    return diagonal_sum(a, offset=offset, axis1=axis1, axis2=axis2)


@op("... -> ...", samples=_diagonals)
def diagonal_sum(a: Array, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> OpResult:
    """The sum of a diagonal of two axes."""
    along, back = diagonal.function(a, offset=offset, axis1=axis1, axis2=axis2)
    shape = along.shape
    value = either_fused(sum_, along, axis=-1)
    return value, lambda g: back(spread(g.reshape((*g.shape, 1)), shape))


@op("..., ... -> ...", samples=_places)
def set_diagonal(
    a: Array, src: Array, *, offset: int = 0, axis1: int = 0, axis2: int = 1
) -> OpResult:
    """a with ``src`` on the diagonal of two axes."""
    y = _written(data_of(a).copy(), src, offset, axis1, axis2)

    def to_a(g: Array) -> Any:
        none = np.zeros((), g.dtype)
        return either(set_diagonal, g, none, offset=offset, axis1=axis1, axis2=axis2)

    return y, (to_a, lambda g: np.diagonal(g, offset, axis1, axis2))


def _written(whole: Array, diagonal: Array | Tensor, offset: int, axis1: int, axis2: int) -> Array:
    place = np.diagonal(whole, offset, axis1, axis2)
    place.flags.writeable = True
    place[...] = data_of(diagonal)
    return whole


def _blocks(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=(2, 3)), rng.normal(size=(1, 2))), {})]


@op("..., ... -> ...", samples=_blocks)
def block_diagonal(*blocks: Array) -> OpResult:
    """Zeros with matrices along the diagonal, one after the other."""
    corner, parts = (0, 0), []
    for m, n in (block.shape for block in blocks):
        i, j = corner
        parts.append((slice(i, i + m), slice(j, j + n)))
        corner = i + m, j + n
    whole = np.zeros(corner, np.result_type(*[block.dtype for block in blocks]))
    for part, block in zip(parts, blocks, strict=True):
        whole[part] = data_of(block)
    return whole, tuple([_part(part) for part in parts])


def _part(place: tuple[slice, slice]) -> Closure:
    return lambda g: g[place]


@op(
    "... m n -> ... m n",
    function=np.tril,
    samples=lambda rng: [((rng.normal(size=(2, 3, 4)),), s) for s in ({}, {"k": -1}, {"k": 2})],
)
def tril(a: Array, *, k: int = 0) -> OpResult:
    """The lower triangle, zeros above diagonal k."""
    return np.tril(a, k), lambda g: np.tril(g, k)


@op(
    "... m n -> ... m n",
    function=np.triu,
    samples=lambda rng: [((rng.normal(size=(2, 3, 4)),), s) for s in ({}, {"k": -1}, {"k": 2})],
)
def triu(a: Array, *, k: int = 0) -> OpResult:
    """The upper triangle, zeros below diagonal k."""
    return np.triu(a, k), lambda g: np.triu(g, k)


@dispatch(np.diag)
def diag(v: Array | Tensor, k: int = 0) -> Any:
    """``np.diag``: a matrix with the vector on diagonal k, or diagonal k of a matrix."""
    if v.ndim == 2:
        return np.copy(diagonal(v, offset=k))
    if v.ndim != 1:
        raise ShapeError(f"diag takes a vector or a matrix, not shape {v.shape}; use np.diagonal")
    n = v.shape[0] + abs(k)
    return diagonal_fill(v, shape=(n, n), offset=k)


@dispatch(np.diagflat)
def diagflat(v: Array | Tensor, k: int = 0) -> Any:
    """``np.diagflat``: a matrix with all elements, in C order, on diagonal k."""
    (v,) = arrays(v)
    return diag(np.reshape(v, (-1,)), k)
