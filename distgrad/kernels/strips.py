"""Elementwise kernels over large arrays with gaps between their rows: some rows at a time.

Kernels take what lies in a piece. A copy of a whole slice would pass through memory and be kept for
the way back; a copy of some rows stays in the cache, and what is kept is the slice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.unbuffered import LARGE

_STRIP = 1 << 14  # numbers


def has_gaps(a: Array) -> bool:
    """Whether ``a`` is large, and its rows lie in a piece each, with gaps between them."""
    flags = a.flags
    return (
        not flags.c_contiguous
        and a.nbytes >= LARGE
        and not flags.f_contiguous
        and a.strides[-1] == a.itemsize
        and a.shape[-1] > 1
        and min(a.strides) > 0
        and _descend(a.strides)
    )


def _descend(strides: Sequence[int]) -> bool:
    return list(strides) == sorted(strides, reverse=True)


def over_strips(
    run: Callable[..., None], arrays: Sequence[Array], settings: Sequence[Any]
) -> Array:
    """Return what ``run(*rows of arrays, rows of the result, *settings)`` computes, in C order."""
    first = arrays[0]
    y = np.empty(first.shape, first.dtype)
    many = max(1, _STRIP // (first.size // len(first)))
    rooms = [np.empty((many, *a.shape[1:]), a.dtype) for a in arrays]
    for begin in range(0, len(first), many):
        part = slice(begin, begin + many)
        run(
            *[_row(a[part], room) for a, room in zip(arrays, rooms, strict=True)],
            y[part].reshape(-1),
            *settings,
        )
    return y


def _row(part: Array, room: Array) -> Array:
    flags = part.flags
    if not (flags.c_contiguous and flags.writeable):
        room = room[: len(part)]
        np.copyto(room, part)
        part = room
    return part.reshape(-1)


def back_over_strips(
    run: Callable[..., None], arrays: list[Array], settings: Sequence[Any]
) -> Callable[[Array], Array]:
    """Return the gradient closure of a kernel that reads the gradient, then ``arrays``."""
    return lambda g: over_strips(run, [g, *arrays], settings)
