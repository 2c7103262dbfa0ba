"""Reading by index, and its adjoint: basic, integer and boolean indexing, take, embedding."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from distgrad.autograd import faster
from distgrad.autograd.apart import fixed
from distgrad.autograd.op import OpResult, Sample, constant, dispatch, op, plain
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike, Shape
from distgrad.errors import GradError, ShapeError
from distgrad.ops.checked import checked_index, checked_rows
from distgrad.ops.helpers import aside, in_float32
from distgrad.ops.shape import axis_numbers

plain(np.nonzero, np.flatnonzero, np.argwhere, np.searchsorted, np.digitize, np.isin)


def _indices(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(4, 3, 2))
    mask = np.array([True, False, True, False])
    cases = [1, slice(None, None, -2), (..., 0), ([0, 2, 2],), (slice(1, 3), None, [1, 0]), (mask,)]
    cases += [mask, np.array([[2, 0], [-1, 2]])]
    return [((x,), {"index": i}) for i in cases]


@op("... -> ...", method="__getitem__", samples=_indices, view=True)
def getitem(a: Array, *, index: Any) -> OpResult:
    """a[index]: basic slices are views, integer and boolean arrays copy."""
    key = index if type(index) in _PLAIN else _own(plain_index(index))
    shape, dtype = a.shape, a.dtype

    def vjp(g: Array) -> Any:
        if type(key) is not slice or type(g) is not np.ndarray:
            return put_back(g, index=key, shape=shape, dtype=dtype)
        whole = np.zeros(shape, dtype)  # what put_back does, without looking
        whole[key] = g
        return whole

    value = a[key]
    if isinstance(value, np.generic):  # a single number: a view, too
        value = a[(*key, ...) if type(key) is tuple else (key, ...)]
    return value, vjp


_PLAIN = {int, slice, type(None), type(...), np.int64}
"""What picks a part, alone or in a tuple, as it is."""


def _own(key: Any) -> Any:
    # The gradient reads the index again: lists, and arrays inside a tuple, are copied, for whoever
    # changes them in place; an array that stands alone is noticed.
    if type(key) is tuple:
        return tuple(
            [
                k
                if type(k) in _PLAIN
                else aside(np.copy, k)
                if isinstance(k, np.ndarray)
                else _own(k)
                for k in key
            ]
        )
    return copy.deepcopy(key) if type(key) is list else key


def plain_index(index: Any) -> Any:
    """Return an index with its Tensors as arrays."""
    if isinstance(index, tuple):
        return tuple([i if type(i) in _PLAIN else plain_index(i) for i in index])
    return index.array if isinstance(index, Tensor) else index


def as_tensor(x: TensorLike) -> Tensor:
    """Return ``x`` as a Tensor: functions with PyTorch's names take arrays too."""
    if isinstance(x, Tensor):
        return x
    made = Tensor(x)
    if type(x) in _PYTHONS:
        fixed(made.array)
    return made


_PYTHONS = {bool, int, float, complex, list, tuple}
"""Types of what no step computes."""


def _is_basic(index: Any) -> bool:
    for i in index if isinstance(index, tuple) else (index,):
        if type(i) not in _PLAIN and not isinstance(i, int | np.integer):
            return False
    return True


@op(
    "... -> ...",
    samples=lambda rng: [
        ((rng.normal(size=(3, 2)),), {"index": index, "shape": (4, 2), "dtype": "f8"})
        for index in (([0, 2, 2],), np.array([0, 2, 2]))
    ],
)
def add_at(g: Array, *, index: Any, shape: Shape, dtype: DTypeLike) -> OpResult:
    """Zeros of ``shape`` with ``g`` added at ``index``; repeated indices add up."""
    return put_back(g, index=index, shape=shape, dtype=dtype), lambda gg: gg[index]


def put_back(g: Array | Tensor, *, index: Any, shape: Shape, dtype: DTypeLike) -> Any:
    """``add_at`` for arrays and Tensors alike: a gradient closure may hold either."""
    if isinstance(g, Tensor):
        return add_at(g, index=index, shape=shape, dtype=dtype)
    if g.size == math.prod(shape) and g.dtype == dtype and picks_all(index, shape):
        return g.reshape(shape)
    whole = np.zeros(shape, dtype)
    if _is_basic(index):
        whole[index] = g
    elif isinstance(index, np.ndarray) and index.dtype == np.bool_:
        whole[index] = g + np.zeros((), g.dtype)  # no place comes twice; -0 becomes 0, as in sums
    elif not (isinstance(index, np.ndarray) and index.dtype.kind in "iu"):
        np.add.at(whole, index, g)
    elif len(shape) == 1:
        # NumPy is several times faster with one axis.
        np.add.at(whole, index.reshape(-1), g.reshape(-1))
    else:
        _add_rows(whole.reshape(shape[0], math.prod(shape[1:])), index.reshape(-1), g)
    return whole


@op(
    "..., ... -> ...",
    samples=lambda rng: [
        ((rng.normal(size=(4, 3)), rng.normal(size=shape)), {"index": index})
        for shape, index in (
            ((3,), 1),
            ((4, 1), (slice(None, None, -1), slice(-2, None))),
            ((4, 3), ([0, 2, 0, -2],)),
            ((), np.array([True, False, True, False])),
        )
    ],
)
def set_at(a: Array, values: Array, *, index: Any) -> OpResult:
    """``a`` as it is after ``a[index] = values``: of several for one place the last one stays."""
    key = _own(plain_index(index))
    y = a.copy()
    try:
        _put(y, key, values)
    except IndexError as error:
        raise ShapeError(f"index_put: {error}") from error
    except ValueError as error:
        raise ShapeError(
            f"index_put: values of shape {np.shape(values)} do not broadcast to {y[key].shape}, "
            f"the shape of x[indices]"
        ) from error
    shape = a.shape

    def to_values(g: Array) -> Any:
        last = _last(key, shape)
        found = _picked(g, key)
        return found if last is None else np.where(last, found, 0)

    return y, (lambda g: _erased(g, key), to_values)


def _erased(g: Array | Tensor, key: Any) -> Any:
    if isinstance(g, Tensor):
        return set_at(g, np.zeros((), g.dtype), index=key)
    d = g.copy()
    _put(d, key, 0)
    return d


def _put(a: Array, key: Any, values: Any) -> None:
    mask = _mask(key)
    put_ = None if mask is None else faster.twin("put_")
    if put_ is None or not put_(a, mask, values):
        a[key] = values


def _picked(a: Array | Tensor, key: Any) -> Any:
    mask = _mask(key) if type(a) is np.ndarray else None
    picked = None if mask is None else faster.twin("picked")
    found = None if picked is None else picked(a, mask)
    return a[key] if found is None else found


def _mask(key: Any) -> Array | None:
    """Return the mask of many numbers that an index is, alone or in a tuple."""
    alone = key[0] if type(key) is tuple and len(key) == 1 else key
    is_mask = type(alone) is np.ndarray and alone.dtype == np.bool_
    return alone if is_mask and alone.size >= faster.MANY else None


def _last(key: Any, shape: Shape) -> Array | None:
    """Return which of the values at ``key`` stays, where several may be for one place."""
    keys = key if type(key) is tuple else (key,)
    arrays = [np.asarray(k) for k in keys if not _is_basic(k)]
    if all(k.dtype == np.bool_ for k in arrays):
        return None
    if len(arrays) == 1 and all(type(k) is slice for k in keys if _is_basic(k)):
        axis = next(i for i, k in enumerate(keys) if type(k) is not slice)
        rows = arrays[0]  # what holds for one of the other axes' numbers holds for all
        return _stays(rows, (shape[axis],)).reshape(*rows.shape, *[1] * (len(shape) - axis - 1))
    return _stays(key, shape)


def _stays(key: Any, shape: Shape) -> Array:
    place = np.empty(shape, np.intp)
    numbers = np.arange(place[key].size).reshape(place[key].shape)
    place[key] = numbers
    return np.asarray(place[key] == numbers)


def picks_all(index: Any, shape: Shape) -> bool:
    """Whether ``a[index]`` is ``a``, but for axes of length 1."""
    keys = index if type(index) is tuple else (index,)
    named = sum(k is not None and k is not Ellipsis for k in keys)
    axis = 0
    for k in keys:
        if k is Ellipsis:
            axis += len(shape) - named
        elif type(k) is slice:
            if k.indices(shape[axis]) != (0, shape[axis], 1):
                return False
            axis += 1
        elif k is not None:
            if type(k) is not int or shape[axis] != 1:
                return False
            axis += 1
    return True


def _add_rows(rows: Array, index: Array, g: Array) -> None:
    # np.add.at goes element by element; sorted, the rows of one index are summed in one go:
    # NumPy's reduceat takes them in the order in which they came, but in pairs.
    if not index.size:
        return
    g = g.reshape(index.size, rows.shape[1])
    index = index.astype(np.intp)  # a small integer cannot hold the length
    index = np.where(index < 0, index + len(rows), index)
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    rows[ordered[starts]] = np.add.reduceat(g[order], starts, axis=0)


def _takes(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3, 2))
    return [
        ((x,), {"indices": np.array(i), "axis": axis})
        for i, axis in ((2, 1), ([0, -1, 2, 2], 1), ([[0, 1], [1, 1]], -1), ([5, 5, 0], None))
    ]


@op("... -> ...", function=np.take, samples=_takes)
def take(
    a: Array, *, indices: TensorLike, axis: int | None = None, mode: str = "raise"
) -> OpResult:
    """The elements at integer ``indices`` along ``axis`` (of all elements if None)."""
    if mode != "raise":
        raise ShapeError(
            f"np.take on a Tensor raises for an index out of range; got mode={mode!r}: apply "
            f"np.clip or % to the indices"
        )
    if axis is None:
        shape, size, dtype = a.shape, a.size, a.dtype
        rows = checked_index("take", indices, size, None)
        return np.take(a, rows), lambda g: np.reshape(
            put_back(g, index=rows, shape=(size,), dtype=dtype), shape
        )
    (along,) = axis_numbers(axis, a.ndim, "take")
    index = checked_index("take", indices, a.shape[along], along)
    rest = (a.shape[along], *a.shape[:along], *a.shape[along + 1 :])
    first, dtype = range(index.ndim), a.dtype

    def vjp(g: Array) -> Array:
        front = np.moveaxis(g, [along + i for i in first], list(first))
        return np.moveaxis(put_back(front, index=index, shape=rest, dtype=dtype), 0, along)

    return np.take(a, index, axis=along), vjp


def _tokens(rng: np.random.Generator) -> list[Sample]:
    weight = rng.normal(size=(4, 2))
    cases: list[Sample] = [((np.array(i), weight), {}) for i in ([[0, 3, 3], [1, 0, 3]], [2], 1)]
    # A row of padding that is looked up has no gradient, though the value depends on it.
    return [*cases, ((np.array([0, 3, 3, 1]), weight), {"padding_idx": 2})]


@op("..., v d -> ... d", samples=_tokens)
def embedding(indices: Array, weight: Array, *, padding_idx: int | None = None) -> OpResult:
    """Rows of ``weight`` (v, d): integers (…) to (…, d); row ``padding_idx`` gets no gradient."""
    rows = checked_rows(indices, weight)
    shape, dtype = weight.shape, weight.dtype

    def vjp(g: Array) -> Any:
        if padding_idx is not None:
            g = np.where(aside(_is_padding, rows, padding_idx), 0, g)
        return put_back(g, index=rows, shape=shape, dtype=dtype)

    return weight[rows], (None, vjp)


def _bags(rng: np.random.Generator) -> list[Sample]:
    tokens = np.array([0, 3, 3, 1, 0, 2, 1])
    return [((rng.normal(size=(4, 2)), tokens), {"ends": np.array([2, 2, 7])})]


@op("v d, n -> b d", samples=_bags)
@in_float32
def bag_sum(weight: Array, indices: Array, *, ends: Array) -> OpResult:
    """Sums of rows of ``weight`` (v, d): bag i has the ``indices`` before ``ends[i]`` not had yet.

    Errors: ShapeError for ends (b) that fall, or are not all the indices.
    """
    rows = checked_rows(indices, weight)
    counts = bag_lengths(ends, rows.size)
    bags = np.repeat(np.arange(len(counts)), counts)
    shape, dtype = weight.shape, weight.dtype
    value = put_back(weight[rows], index=bags, shape=(len(counts), shape[1]), dtype=dtype)
    return value, (lambda g: put_back(g[bags], index=rows, shape=shape, dtype=dtype), None)


def bag_lengths(ends: Array, n: int) -> Array:
    """Return how many of n indices each bag has. Errors: ShapeError."""
    counts = ends.copy()
    counts[1:] -= ends[:-1]
    if (counts < 0).any() or (ends[-1] if len(ends) else 0) != n:
        raise ShapeError(f"bag_sum: ends rise to the number of indices, {n}; got {ends.tolist()}")
    return counts


def _is_padding(rows: Array, padding_idx: int) -> Array:
    return np.expand_dims(rows == padding_idx, -1)


@dispatch(np.compress)
def compress(condition: TensorLike, a: Array | Tensor, axis: int | None = None) -> Array:
    """The slices along ``axis`` (elements if None) where the 1-d condition holds."""
    return np.take(
        a, np.flatnonzero(constant(condition, "np.compress", "the condition")), axis=axis
    )


@dispatch(np.extract)
def extract(condition: TensorLike, arr: TensorLike) -> Array:
    """The elements where the condition (of the same size) holds, in a row."""
    return np.take(
        np.ravel(arr), np.flatnonzero(constant(condition, "np.extract", "the condition"))
    )


@dispatch(np.delete)
def delete(arr: Array | Tensor, obj: Any, axis: int | None = None) -> Any:
    """``arr`` without the slices (elements if None) that ``obj``, an index or mask, names."""
    if axis is None:
        return delete(np.ravel(arr), obj, 0)
    (along,) = axis_numbers(axis, arr.ndim, "delete")
    try:
        kept = np.delete(np.arange(arr.shape[along]), plain_index(obj))
    except (IndexError, ValueError) as error:
        raise ShapeError(f"delete along axis {along}: {error}") from error
    return np.take(arr, kept, axis=along)


def _refuse(function: Callable[..., Any], instead: str) -> None:
    def refused(*args: Any, **kwargs: Any) -> NoReturn:
        raise GradError(
            f"np.{function.__name__} writes into an array in place, which backward could not "
            f"follow; {instead} returns a new Tensor"
        )

    dispatch(function)(refused)


_refuse(np.put_along_axis, "distgrad.ops.scatter(x, dim, index, src)")
_refuse(np.put, "distgrad.ops.index_put(x, index, values)")
_refuse(np.place, "np.where(mask, values, x)")
_refuse(np.putmask, "np.where(mask, values, x)")
_refuse(np.copyto, "np.where(mask, values, x) or np.copy(x)")
_refuse(np.fill_diagonal, "distgrad.ops.index_put(x, (i, i), values)")
