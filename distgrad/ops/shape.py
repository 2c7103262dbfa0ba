"""Operations on the shape alone: reshape, exchange axes, add and remove axes, broadcast."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.mode import empty_shard
from distgrad.autograd.op import OpResult, dispatch, op, plain
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Axis, Ints, Shape
from distgrad.errors import ShapeError
from distgrad.ops.helpers import data_of, inverse, spread

plain(np.full_like, np.empty_like)


@op(
    "... -> ...",
    function=np.reshape,
    samples=lambda rng: [((rng.normal(size=(2, 6)),), {"shape": (3, -1)})],
    view=True,
)
def reshape(a: Array, *, shape: Ints, order: str = "C") -> OpResult:
    """The same elements in another shape (one length may be -1)."""
    if order != "C":
        raise ShapeError(
            f"a Tensor is reshaped in C order only; got order={order!r}: transpose before and after"
        )
    before = a.shape
    if 0 in before and empty_shard.get():
        shape = _as_of_samples(before, shape)
    return a.reshape(shape), lambda g: g.reshape(before)


def _as_of_samples(before: Shape, shape: Ints) -> Ints:
    """``shape`` without its -1, which NumPy cannot tell in ``x.reshape(len(x), -1)`` of nothing.

    It is the length that it has where the axes of length 0 are longer.
    """
    lengths: list[Any] = list(shape) if isinstance(shape, tuple | list) else [shape]
    if 0 not in lengths or -1 not in lengths:
        return shape
    known = math.prod(n for n in lengths if n > 0)
    lengths[lengths.index(-1)] = math.prod(n for n in before if n) // known
    return tuple(lengths)


@op(
    "... -> ...",
    function=np.transpose,
    samples=lambda rng: [
        ((rng.normal(size=(2, 3, 4)),), s) for s in ({}, {"axes": (2, 0, 1)}, {"axes": (0, -1, 1)})
    ],
    view=True,
)
def transpose(a: Array, *, axes: Sequence[int] | Array | None = None) -> OpResult:
    """The axes in another order (reversed if None)."""
    if axes is None:
        return a.transpose(), lambda g: g.transpose()
    order = [int(x) % a.ndim for x in axes]
    inverse = tuple(sorted(range(len(order)), key=order.__getitem__))
    return a.transpose(axes), lambda g: g.transpose(inverse)


@op(
    "... -> ...",
    function=np.swapaxes,
    samples=lambda rng: [((rng.normal(size=(2, 3, 4)),), {"axis1": 0, "axis2": -1})],
    view=True,
)
def swapaxes(a: Array, *, axis1: int, axis2: int) -> OpResult:
    """Two axes exchanged."""
    return a.swapaxes(axis1, axis2), lambda g: g.swapaxes(axis1, axis2)


@op(
    "... -> ...",
    samples=lambda rng: [
        ((rng.normal(size=(2, 6, 4)),), {"parts": p, "order": o, "shape": s})
        for p, o, s in (
            ((2, 3, 2, 2, 2), (0, 3, 1, 4, 2), (4, 12, 1)),
            ((4, 3, 4), (2, 0, 1), (16, 3)),
        )
    ],
    view=True,
)
def reordered(a: Array, *, parts: Shape, order: Shape, shape: Shape) -> OpResult:
    """In the shape ``parts``, its axes in another ``order``, and what comes out in ``shape``."""
    own, turned = a.shape, [parts[i] for i in order]
    back = inverse(order)

    def vjp(g: Array) -> Any:
        return np.reshape(np.transpose(np.reshape(g, turned), back), own)

    return np.reshape(np.transpose(np.reshape(a, parts), order), shape), vjp


@op(
    "... -> ...",
    function=np.broadcast_to,
    samples=lambda rng: [((rng.normal(size=(3, 1)),), {"shape": (2, 3, 4)})],
    view=True,
)
def broadcast_to(a: Array, *, shape: Ints) -> OpResult:
    """Repeated along new axes and axes of length 1 (the engine sums the gradient back)."""
    if a.shape == shape:
        return a.reshape(shape), lambda g: g
    lengths = shape if isinstance(shape, tuple) else ()
    y = spread(a, lengths) if _fits(a.shape, lengths) else np.broadcast_to(a, shape)
    # Where nothing is repeated the result may be written to, as PyTorch's.
    return np.reshape(a, y.shape) if y.size == a.size else y, lambda g: g


def _fits(own: Shape, shape: Shape) -> bool:
    """Whether an array of one shape, not a number, is broadcast to the other."""
    if not 0 < len(own) <= len(shape):
        return False
    return all(map(_stretches, own, shape[len(shape) - len(own) :]))


def _stretches(n: int, m: int) -> bool:
    return n in (1, m)


@op(
    "... -> ...",
    function=np.squeeze,
    samples=lambda rng: [((rng.normal(size=(1, 3, 1)),), s) for s in ({}, {"axis": 0})],
    view=True,
)
def squeeze(a: Array, *, axis: Axis = None) -> OpResult:
    """Axes of length 1 removed."""
    shape = a.shape
    return a.squeeze(axis=axis), lambda g: g.reshape(shape)


@op(
    "... -> ...",
    function=np.expand_dims,
    samples=lambda rng: [((rng.normal(size=(2, 3)),), {"axis": 1})],
    view=True,
)
def expand_dims(a: Array, *, axis: Ints) -> OpResult:
    """A new axis of length 1."""
    shape = a.shape
    if type(axis) is int and -a.ndim <= axis + 1 and axis <= a.ndim:  # np.expand_dims costs 2 µs
        place = axis if axis >= 0 else axis + a.ndim + 1
        return a.reshape((*shape[:place], 1, *shape[place:])), lambda g: g.reshape(shape)
    return np.expand_dims(a, axis), lambda g: g.reshape(shape)


# -- composed from these --------------------------------------------------------------------------


def axis_numbers(axis: Ints, ndim: int, name: str) -> Shape:
    """Return axes (a number or several) counted from 0. Errors: ShapeError naming ``name``."""
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    numbers = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    for number in numbers:
        if not -ndim <= number < ndim:
            raise ShapeError(f"{name}: axis {number} is out of range for {ndim} axes")
    counted = tuple(int(number) % ndim for number in numbers)
    if len(set(counted)) < len(counted):
        raise ShapeError(f"{name}: axis {axis} names an axis twice")
    return counted


@dispatch(np.ravel)
def ravel(a: Array | Tensor, order: str = "C") -> Any:
    """All elements as one axis."""
    return np.reshape(a, (-1,), order)  # type: ignore[call-overload]  # only "C" comes through


@dispatch(np.moveaxis)
def moveaxis(a: Array | Tensor, source: Ints, destination: Ints) -> Array:
    """Axes ``source`` moved to ``destination``, the others in order."""
    sources = axis_numbers(source, a.ndim, "moveaxis")
    targets = axis_numbers(destination, a.ndim, "moveaxis")
    if len(sources) != len(targets):
        raise ShapeError(f"moveaxis: {len(sources)} axes cannot move to {len(targets)} places")
    order = [i for i in range(a.ndim) if i not in sources]
    for target, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(target, axis)
    return np.transpose(a, order)


@dispatch(np.matrix_transpose)
def matrix_transpose(a: Array | Tensor) -> Array:
    """The last two axes exchanged. Errors: ShapeError for fewer than two."""
    if a.ndim < 2:
        raise ShapeError(f"matrix_transpose needs at least 2 axes; got shape {a.shape}")
    return np.swapaxes(a, -1, -2)


@dispatch(np.broadcast_arrays)
def broadcast_arrays(*arrays: TensorLike) -> tuple[Array, ...]:
    """All arrays in the shape they broadcast to. Errors: ShapeError if they do not."""
    shapes = tuple([a.shape if isinstance(a, Tensor) else np.shape(a) for a in arrays])
    try:
        shape = _broadcast(shapes)
    except ValueError as error:
        listed = ", ".join(map(str, shapes))
        raise ShapeError(f"broadcast_arrays: the shapes {listed} do not broadcast") from error
    return tuple([np.broadcast_to(a, shape) for a in arrays])


@functools.lru_cache(maxsize=256)
def _broadcast(shapes: tuple[Shape, ...]) -> Shape:
    return np.broadcast_shapes(*shapes)


@dispatch(np.atleast_1d)
def atleast_1d(*arrays: TensorLike) -> Array | tuple[Array, ...]:
    """A number as an array of one element, others as they are."""
    return _each(arrays, lambda s: s or (1,))


@dispatch(np.atleast_2d)
def atleast_2d(*arrays: TensorLike) -> Array | tuple[Array, ...]:
    """Fewer than two axes as a row, others as they are."""
    return _each(arrays, lambda s: (1,) * (2 - len(s)) + s)


@dispatch(np.atleast_3d)
def atleast_3d(*arrays: TensorLike) -> Array | tuple[Array, ...]:
    """(n,) as (1, n, 1), (m, n) as (m, n, 1), others as they are."""
    return _each(arrays, lambda s: s if len(s) > 2 else (*((1,) * (2 - len(s)) + s), 1))


def _each(
    arrays: Sequence[TensorLike], shape: Callable[[Shape], Shape]
) -> Array | tuple[Array, ...]:
    shaped = tuple(np.reshape(a, shape(np.shape(a))) for a in arrays)
    return shaped[0] if len(shaped) == 1 else shaped


@dispatch(np.meshgrid)
def np_meshgrid(*arrays: TensorLike, indexing: str = "xy", **settings: bool) -> tuple[Any, ...]:
    """``np.meshgrid``: ``ops.meshgrid`` with its indexing."""
    return meshgrid(*arrays, indexing=indexing, **settings)


def meshgrid(
    *arrays: TensorLike, indexing: str, copy: bool = True, sparse: bool = False
) -> tuple[Any, ...]:
    """Coordinates of a grid, one array for each axis; ``xy`` puts the second array's axis first.

    The indexing is to be named: NumPy's is ``xy``, PyTorch's ``ij``. ``copy`` changes nothing: no
    result is written to. Errors: ShapeError for another indexing.
    """
    if indexing not in {"xy", "ij"}:
        raise ShapeError(f"meshgrid: indexing is 'xy' or 'ij'; got {indexing!r}")
    places = list(range(len(arrays)))
    if indexing == "xy" and len(arrays) > 1:
        places[:2] = [1, 0]
    # A row lies along the last axis as it is, where others are broadcast to it.
    axes = [
        a
        if p == len(arrays) - 1 and not sparse and np.ndim(data_of(a)) == 1
        else np.reshape(a, (1,) * p + (-1,) + (1,) * (len(arrays) - 1 - p))
        for a, p in zip(arrays, places, strict=True)
    ]
    return tuple(axes) if sparse else broadcast_arrays(*axes)


@dispatch(np.copy)
def copy(a: Array | Tensor) -> Array | Tensor:
    """The same elements in memory of their own."""
    return a.astype(a.dtype)


if hasattr(np, "astype"):  # NumPy 2.1
    dispatch(np.astype)(lambda a, dtype: a.astype(dtype))


def flatten(a: Array | Tensor, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Axes ``start_dim`` to ``end_dim`` (included) as one; a number becomes one element.

    Errors: ShapeError if ``end_dim`` comes before ``start_dim``.
    """
    if a.ndim == 0:
        return np.reshape(a, (1,))
    first, last = (axis_numbers(i, a.ndim, "flatten")[0] for i in (start_dim, end_dim))
    if last < first:
        raise ShapeError(
            f"flatten: axis {end_dim} comes before axis {start_dim} in shape {a.shape}"
        )
    length = math.prod(a.shape[first : last + 1])
    return np.reshape(a, (*a.shape[:first], length, *a.shape[last + 1 :]))


def unflatten(a: Array | Tensor, dim: int, sizes: Sequence[int]) -> Any:
    """Axis ``dim`` as several of ``sizes`` (one may be -1). Errors: ShapeError if they differ."""
    (axis,) = axis_numbers(dim, a.ndim, "unflatten")
    given = tuple(int(n) for n in sizes)
    rest = math.prod(n for n in given if n != -1)
    full = tuple(a.shape[axis] // max(rest, 1) if n == -1 else n for n in given)
    if given.count(-1) > 1 or not given or math.prod(full) != a.shape[axis]:
        raise ShapeError(
            f"unflatten: sizes {given} do not make up axis {dim} of length {a.shape[axis]}"
        )
    return np.reshape(a, (*a.shape[:axis], *full, *a.shape[axis + 1 :]))
