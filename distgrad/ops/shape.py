"""Operations that move elements and compute nothing: reshape, transpose, join, split."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import dispatch, op
from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError


@op(
    "... -> ...",
    function=np.reshape,
    samples=lambda rng: [((rng.normal(size=(2, 6)),), {"shape": (3, -1)})],
)
def reshape(a: Any, *, shape: Any) -> Any:
    """The same elements in another shape (one length may be -1)."""
    before = a.shape
    return np.reshape(a, shape), lambda g: np.reshape(g, before)


@op(
    "... -> ...",
    function=np.transpose,
    samples=lambda rng: [
        ((rng.normal(size=(2, 3, 4)),), s) for s in ({}, {"axes": (2, 0, 1)}, {"axes": (0, -1, 1)})
    ],
)
def transpose(a: Any, *, axes: Any = None) -> Any:
    """The axes in another order (reversed if None)."""
    inverse = None if axes is None else np.argsort([x % a.ndim for x in axes])
    return np.transpose(a, axes), lambda g: np.transpose(g, inverse)


@op(
    "... -> ...",
    function=np.swapaxes,
    samples=lambda rng: [((rng.normal(size=(2, 3, 4)),), {"axis1": 0, "axis2": -1})],
)
def swapaxes(a: Any, *, axis1: int, axis2: int) -> Any:
    """Two axes exchanged."""
    return np.swapaxes(a, axis1, axis2), lambda g: np.swapaxes(g, axis1, axis2)


@op(
    "... -> ...",
    function=np.broadcast_to,
    samples=lambda rng: [((rng.normal(size=(3, 1)),), {"shape": (2, 3, 4)})],
)
def broadcast_to(a: Any, *, shape: Any) -> Any:
    """Repeated along new axes and axes of length 1 (the engine sums the gradient back)."""
    return np.broadcast_to(a, shape), lambda g: g


@op(
    "... -> ...",
    function=np.squeeze,
    samples=lambda rng: [((rng.normal(size=(1, 3, 1)),), s) for s in ({}, {"axis": 0})],
)
def squeeze(a: Any, *, axis: Any = None) -> Any:
    """Axes of length 1 removed."""
    shape = a.shape
    return np.squeeze(a, axis), lambda g: np.reshape(g, shape)


@op(
    "... -> ...",
    function=np.expand_dims,
    samples=lambda rng: [((rng.normal(size=(2, 3)),), {"axis": 1})],
)
def expand_dims(a: Any, *, axis: Any) -> Any:
    """A new axis of length 1."""
    shape = a.shape
    return np.expand_dims(a, axis), lambda g: np.reshape(g, shape)


@op(
    "..., ... -> ...",
    samples=lambda rng: [((rng.normal(size=(2, 3)), rng.normal(size=(2, 4))), {"axis": -1})],
)
def join(*arrays: Any, axis: int = 0) -> Any:
    """Arrays one after the other along ``axis`` (np.concatenate)."""
    ends = np.cumsum([a.shape[axis] for a in arrays])

    def part(i: int) -> Any:
        start = int(ends[i - 1]) if i else 0
        window = slice(start, int(ends[i]))
        return lambda g: g[(slice(None),) * (axis % g.ndim) + (window,)]

    return np.concatenate(arrays, axis=axis), tuple(part(i) for i in range(len(arrays)))


@dispatch(np.concatenate)
def concatenate(arrays: Any, axis: int = 0) -> Any:
    """Arrays one after the other along ``axis``."""
    return join(*arrays, axis=axis)


@dispatch(np.stack)
def stack(arrays: Any, axis: int = 0) -> Any:
    """Arrays of one shape along a new ``axis``."""
    return join(*(np.expand_dims(a, axis) for a in arrays), axis=axis)


@op(
    "... -> ..., ...",
    samples=lambda rng: [((rng.normal(size=(2, 6)),), {"indices_or_sections": 3, "axis": 1})],
)
def split_(a: Any, *, indices_or_sections: Any, axis: int = 0) -> Any:
    """Consecutive parts along ``axis``: equal ones for a number, at the given indices otherwise."""
    parts = tuple(np.split(a, indices_or_sections, axis=axis))
    shapes = [p.shape for p in parts]
    dtype = a.dtype

    def vjp(*gs: Any) -> Any:
        whole = [np.zeros(s, dtype) if g is None else g for g, s in zip(gs, shapes, strict=True)]
        return np.concatenate(whole, axis=axis)

    return parts, vjp


@dispatch(np.split)
def split(a: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Consecutive parts along ``axis`` (a list, as NumPy returns)."""
    return list(split_(a, indices_or_sections=indices_or_sections, axis=axis))


@op(
    "... -> ...",
    samples=lambda rng: [((rng.normal(size=(2, 3)),), {"pad_width": ((0, 1), (2, 1))})],
)
def pad_zero(a: Any, *, pad_width: Any) -> Any:
    """Zeros before and after along each axis."""
    inner = tuple(slice(b, b + n) for (b, _), n in zip(pad_width, a.shape, strict=True))
    return np.pad(a, pad_width), lambda g: g[inner]


@dispatch(np.pad)
def pad(a: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    """``np.pad`` with zeros; other modes raise."""
    if mode != "constant" or constant_values != 0:
        raise ShapeError(
            f"np.pad on a Tensor pads with zeros only (asked: mode={mode!r}, "
            f"constant_values={constant_values!r}); concatenate the border you need"
        )
    width = np.broadcast_to(np.asarray(pad_width), (a.ndim, 2))
    return pad_zero(a, pad_width=tuple((int(b), int(e)) for b, e in width))


def flatten(a: Tensor, start: int = 0, end: int = -1) -> Tensor:
    """Axes ``start`` to ``end`` (included) as one."""
    stop = end % a.ndim + 1
    return a.reshape((*a.shape[:start], -1, *a.shape[stop:]))
