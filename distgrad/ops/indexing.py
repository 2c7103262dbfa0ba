"""Reading and writing by index: basic and integer-array indexing, embedding."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import Sample, op
from distgrad.autograd.tensor import Array, Tensor
from distgrad.errors import ShapeError
from distgrad.ops.helpers import first_outside, integers


def _indices(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(4, 3, 2))
    mask = np.array([True, False, True, False])
    cases = [1, slice(None, None, -2), (..., 0), ([0, 2, 2],), (slice(1, 3), None, [1, 0]), (mask,)]
    return [((x,), {"index": i}) for i in cases]


@op("... -> ...", method="__getitem__", samples=_indices)
def getitem(a: Any, *, index: Any) -> Any:
    """a[index]: basic slices are views, integer and boolean arrays copy."""
    key = _plain(index)
    shape, dtype = a.shape, a.dtype
    return a[key], lambda g: scatter_add(g, index=key, shape=shape, dtype=dtype)


def _plain(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_plain(i) for i in index)
    return index.data if isinstance(index, Tensor) else index


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(i is None or i is Ellipsis or isinstance(i, int | np.integer | slice) for i in parts)


@op(
    "... -> ...",
    samples=lambda rng: [
        ((rng.normal(size=(3, 2)),), {"index": ([0, 2, 2],), "shape": (4, 2), "dtype": "f8"})
    ],
)
def scatter_add_(g: Any, *, index: Any, shape: Any, dtype: Any) -> Any:
    """Zeros of ``shape`` with ``g`` added at ``index``; repeated indices add up."""
    return scatter_add(g, index=index, shape=shape, dtype=dtype), lambda gg: gg[index]


def scatter_add(g: Any, *, index: Any, shape: Any, dtype: Any) -> Any:
    """``scatter_add_`` for arrays and Tensors alike: a gradient closure may hold either."""
    if isinstance(g, Tensor):
        return scatter_add_(g, index=index, shape=shape, dtype=dtype)
    whole = np.zeros(shape, dtype)
    if _is_basic(index):
        whole[index] = g
    elif isinstance(index, np.ndarray) and index.dtype.kind in "iu" and len(shape) > 1:
        _add_rows(whole, index.reshape(-1), g.reshape(index.size, -1))
    else:
        np.add.at(whole, index, g)
    return whole


def _add_rows(whole: Array, index: Array, g: Array) -> None:
    # np.add.at goes element by element; sorted, the rows of one index are summed in one go, in the
    # order in which they came.
    if not index.size:
        return
    index = np.where(index < 0, index + len(whole), index)
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    rows = whole.reshape(len(whole), -1)
    rows[ordered[starts]] = np.add.reduceat(g[order], starts, axis=0)


def _tokens(rng: np.random.Generator) -> list[Sample]:
    weight = rng.normal(size=(4, 2))
    return [((np.array(i), weight), {}) for i in ([[0, 3, 3], [1, 0, 3]], [2], 1)]


@op("..., v d -> ... d", samples=_tokens)
def embedding(indices: Any, weight: Any) -> Any:
    """Rows of ``weight`` (v, d): integers (…) to (…, d). Errors: ShapeError out of range."""
    rows = checked_rows(indices, weight)
    shape, dtype = weight.shape, weight.dtype
    return weight[rows], (None, lambda g: scatter_add(g, index=rows, shape=shape, dtype=dtype))


def checked_rows(indices: Any, weight: Any) -> Array:
    """Return the indices as an integer array. Errors: ShapeError for one out of range."""
    rows = integers(indices, "embedding indices")
    bad = first_outside(rows, weight.shape[0])
    if bad is not None:
        raise ShapeError(
            f"embedding: index {bad[0]} at position {bad[1]} is out of range for a table of "
            f"{weight.shape[0]} rows (0..{weight.shape[0] - 1}); check the vocabulary's size"
        )
    return rows
