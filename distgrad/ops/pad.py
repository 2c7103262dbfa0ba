"""Borders around arrays: constants, the edge, mirrored or wrapped elements."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.op import OpResult, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError

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
    y = np.full([b + n + e for (b, e), n in zip(pad_width, a.shape, strict=True)], constant_values,
                a.dtype)  # fmt: skip
    y[inner] = a
    return y, lambda g: g[inner]


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
    result = array if any(map(any, widths)) else np.copy(array)
    for axis, width in enumerate(widths):
        n = array.shape[axis]
        if n == 0 and any(width):
            raise ShapeError(f"np.pad: axis {axis} has no elements to pad with (mode={mode!r})")
        if any(width):
            result = np.take(result, fixed(_chosen(n, width, mode)), axis=axis)
    return result


@functools.lru_cache(maxsize=64)
def _chosen(n: int, width: tuple[int, int], mode: Any) -> Array:
    index: Array = np.pad(np.arange(n), width, mode=mode)
    index.flags.writeable = False
    return index


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
