"""Borders around arrays: constants, the edge, mirrored or wrapped elements."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.op import OpResult, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, Shape
from distgrad.errors import ShapeError
from distgrad.ops.helpers import data_of, either, empty_in, memory_order

MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def _cases(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3))
    width = ((0, 1), (2, 1))
    return [((x,), {"pad_width": width}), ((x,), {"pad_width": width, "constant_values": 0.5})]


@op("... -> ...", samples=_cases)
def pad_constant(
    a: Array, *, pad_width: Sequence[tuple[int, int]], constant_values: float = 0
) -> OpResult:
    """A constant before and after along each axis."""
    inner = tuple(slice(b, b + n) for (b, _), n in zip(pad_width, a.shape, strict=True))
    if type(a) is not np.ndarray or not isinstance(constant_values, int | float):
        return np.pad(a, pad_width, constant_values=constant_values), lambda g: g[inner]
    y = _wider(a, pad_width)
    y[...] = constant_values
    y[inner] = a
    return y, lambda g: g[inner]


def _wider(a: Array, widths: Sequence[tuple[int, int]]) -> Array:
    """Return an empty array with a border, its axes in the order in memory of those of ``a``."""
    shape = [b + n + e for (b, e), n in zip(widths, a.shape, strict=True)]
    return empty_in(a, memory_order(a), shape)


@dispatch(np.pad)
def pad(
    array: Array | Tensor,
    pad_width: Any,
    mode: Any = "constant",
    constant_values: float = 0,
    reflect_type: str = "even",
) -> Any:
    """``np.pad``: a border of a constant, or of the elements ``edge``, ``reflect``… choose.

    Errors: ShapeError for widths that do not fit, and NumPy's modes that compute statistics.
    """
    if mode not in MODES or reflect_type != "even":
        raise ShapeError(
            f"np.pad on a Tensor knows the modes {', '.join(MODES)} with reflect_type='even'; got "
            f"mode={mode!r}, reflect_type={reflect_type!r}: concatenate the border you need"
        )
    widths = _widths(pad_width, array.ndim)
    if mode == "constant":
        return pad_constant(array, pad_width=widths, constant_values=constant_values)
    if not any(map(any, widths)):
        return np.copy(array)
    for axis, (n, width) in enumerate(zip(array.shape, widths, strict=True)):
        if n == 0 and any(width):
            raise ShapeError(f"np.pad: axis {axis} has no elements to pad with (mode={mode!r})")
    return pad_border(array, pad_width=widths, mode=mode)


def _bordered(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3, 4))
    width, far = ((0, 0), (1, 2), (3, 1)), ((1, 0), (0, 0), (0, 9))
    return [
        *(((x,), {"pad_width": width, "mode": mode}) for mode in MODES[1:]),
        *(((x,), {"pad_width": far, "mode": mode}) for mode in MODES[1:]),
    ]


Widths: TypeAlias = "tuple[tuple[int, int], ...]"


@op("... -> ...", samples=_bordered)
def pad_border(a: Array, *, pad_width: Widths, mode: str) -> OpResult:
    """A border of a's own elements: at the ``edge``, mirrored or wrapped (NumPy's modes)."""
    shape = a.shape
    inner, copies = _copies(shape, pad_width, mode)
    y = _wider(data_of(a), pad_width)
    y[inner] = data_of(a)
    for _, to, source in copies:
        y[to] = y[source]
    return y, lambda g: either(fold_border, g, shape=shape, pad_width=pad_width, mode=mode)


@op(
    "... -> ...",
    samples=lambda rng: [
        ((rng.normal(size=(2, 5, 7)),),
         {"shape": (2, 3, 4), "pad_width": ((0, 0), (0, 2), (2, 1)), "mode": mode})
        for mode in MODES[1:]
    ],
)  # fmt: skip
def fold_border(g: Array, *, shape: Shape, pad_width: Widths, mode: str) -> OpResult:
    """The adjoint of ``pad_border``: each element and its copies in the border, added."""
    inner, copies = _copies(shape, pad_width, mode)
    d = np.array(data_of(g))
    for axis, to, source in reversed(copies):
        part = d[to]
        once = part.shape[axis] != 1 and d[source].shape[axis] == 1
        d[source] += np.add.reduce(part, axis=axis, keepdims=True) if once else part
    return d[inner], lambda gg: either(pad_border, gg, pad_width=pad_width, mode=mode)


Part: TypeAlias = "tuple[slice, ...]"


@functools.lru_cache(maxsize=128)
def _copies(shape: Shape, widths: Widths, mode: Any) -> tuple[Part, list[tuple[int, Part, Part]]]:
    """Return where the array itself lies, and (axis, border, what is copied there), in order."""
    inner = tuple([slice(b, b + n) for (b, _), n in zip(widths, shape, strict=True)])
    found = []
    for axis, (n, (before, after)) in enumerate(zip(shape, widths, strict=True)):
        if not before and not after:
            continue
        source = before + np.pad(np.arange(n), (before, after), mode=mode)
        for begin, end in ((0, before), (before + n, before + n + after)):
            for start, stop in _runs(source, begin, end):
                whole = (slice(None),) * axis, inner[axis + 1 :]  # what comes after is still empty
                first, last = int(source[start]), int(source[stop - 1])
                step = -1 if last < first else 1
                past = None if last + step < 0 else last + step
                to, of = slice(start, stop), slice(first, past, step)
                found.append((axis, (*whole[0], to, *whole[1]), (*whole[0], of, *whole[1])))
    return inner, found


def _runs(source: Array, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a part of ``source`` into runs that stay, rise or fall by one from place to place."""
    while begin < end:
        stop = begin + 1
        step = int(source[stop] - source[begin]) if stop < end else 0
        while stop < end and step in (-1, 0, 1) and source[stop] - source[stop - 1] == step:
            stop += 1
        yield begin, stop
        begin = stop


def _widths(pad_width: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    given = np.asarray(pad_width)
    try:
        widths = np.broadcast_to(given, (ndim, 2))
    except ValueError as error:
        raise ShapeError(
            f"pad_width is a number, a pair, or a (before, after) pair for each of {ndim} axes; "
            f"got {pad_width!r}"
        ) from error
    if given.dtype.kind not in "iu" or (given < 0).any():
        raise ShapeError(f"pad_width counts elements, 0 or more; got {pad_width!r}")
    return tuple((int(before), int(after)) for before, after in widths)
