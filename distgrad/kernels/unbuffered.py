"""Elementwise ops of arrays with gaps between their rows, without NumPy's buffer.

NumPy copies rows of less than 8,192 numbers into a buffer before it computes with them, where they
do not lie in a piece: as slow as a pass over memory. With a buffer no longer than a row it computes
with them where they are. The bits are the same: every number is computed by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Shape

LARGE = 1 << 17
"""Bytes of an array: below, looking for gaps costs more than NumPy's way over them."""
_SHORT = 512  # numbers of a row: fewer are sooner copied
_BUFFER = 8192  # numbers, NumPy's own
_UNIT = 16  # of which NumPy wants a multiple


def twin_of(body: Callable[..., Any]) -> Callable[..., OpResult | None]:
    """Return the twin of an elementwise op; it is None for arrays that NumPy does not buffer."""

    def twin(*arrays: Any, **settings: Any) -> OpResult | None:
        size = _buffer_for(arrays)
        if size is None:
            return None
        value, vjps = _run(size, body, *arrays, **settings)
        if type(vjps) is tuple:
            return value, tuple([_also(size, vjp) for vjp in vjps])
        return value, _also(size, vjps)

    return twin


def _also(size: int, vjp: Any) -> Any:
    # What reads nothing but the gradient has nothing to gain.
    if type(vjp) is not FunctionType or vjp.__closure__ is None:
        return vjp
    return lambda g: _run(size, vjp, g)


def _run(size: int, function: Callable[..., Any], *arrays: Any, **settings: Any) -> Any:
    before = np.setbufsize(size)
    try:
        return function(*arrays, **settings)
    finally:
        np.setbufsize(before)


def _buffer_for(arrays: tuple[Any, ...]) -> int | None:
    """Return the numbers that a buffer should have; None if there are no gaps, or short rows."""
    found: list[Array] = []
    whole = True
    for a in arrays:
        if type(a) is np.ndarray:
            if found and a.dtype is not found[0].dtype:
                return None  # one is converted, in the buffer
            found.append(a)
            whole &= a.flags.forc
        elif type(a) is not int and type(a) is not float:
            return None
    if not found or (whole and all(a.shape == found[0].shape for a in found)):
        return None
    return _length(tuple([(a.shape, a.strides) for a in found]), found[0].itemsize)


@lru_cache(maxsize=256)
def _length(forms: tuple[tuple[Shape, Shape], ...], itemsize: int) -> int | None:
    try:
        shape = np.broadcast_shapes(*(own for own, _ in forms))
    except ValueError:
        return None  # the op says what does not fit
    strides = [_strides(own, steps, shape) for own, steps in forms]
    # As NumPy goes over them: by the memory of the first, and axes that are one in all are joined.
    order = sorted(range(len(shape)), key=lambda i: (-abs(strides[0][i]), i))
    row = 1
    steps = [itemsize] * len(forms)
    for i in reversed(order):
        if shape[i] == 1:
            continue
        here = [s[i] for s in strides]
        if row > 1 and here != [n * row if n else 0 for n in steps]:
            break
        if row == 1:
            if any(s not in (0, itemsize) for s in here):
                return None  # numbers with gaps between them
            steps = here
        row *= shape[i]
    if row < _SHORT or row >= _BUFFER:
        return None
    return row // _UNIT * _UNIT


def _strides(own: Shape, strides: Shape, shape: Shape) -> list[int]:
    """Return the strides of an array that is broadcast to ``shape``."""
    moved = [0 if n == 1 else s for n, s in zip(own, strides, strict=True)]
    return [0] * (len(shape) - len(own)) + moved
