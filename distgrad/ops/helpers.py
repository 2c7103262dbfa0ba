"""What several ops share: settings in pairs, values outside the tape."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.tensor import Array, Tensor
from distgrad.errors import ShapeError

Pair = tuple[int, int]


def conjugate(z: Any) -> Any:
    """The conjugate of complex numbers; real ones as they are, at no cost."""
    if isinstance(z, int | float | complex):
        return z.conjugate()  # np.conj would make an array of it, whose dtype is no longer weak
    return np.conj(z) if z.dtype.kind == "c" else z


def data_of(a: Any) -> Any:
    """Return the array of a Tensor (or the array itself), for what no gradient flows through."""
    return a.data if isinstance(a, Tensor) else a


def pair(value: Any, name: str) -> Pair:
    """Return (value, value) for a number, the two numbers of a pair. Errors: ShapeError."""
    numbers = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(numbers) != 2:
        raise ShapeError(f"{name} is a number or a pair of numbers (height, width); got {value!r}")
    return int(numbers[0]), int(numbers[1])


def output_length(length: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Return how many windows fit along one axis. Errors: ShapeError if none does."""
    if stride < 1 or dilation < 1 or padding < 0:
        raise ShapeError(
            f"stride and dilation start at 1, padding at 0; got stride={stride}, "
            f"dilation={dilation}, padding={padding}"
        )
    reach = dilation * (kernel - 1) + 1
    if length + 2 * padding < reach:
        raise ShapeError(
            f"a window of {reach} (kernel {kernel}, dilation {dilation}) does not fit in a length "
            f"of {length} + 2 x {padding} of padding; use a smaller kernel or more padding"
        )
    return (length + 2 * padding - reach) // stride + 1


def integers(values: Any, what: str) -> Array:
    """Return ``values`` as an integer array. Errors: ShapeError for another dtype."""
    array = np.asarray(data_of(values))
    if array.dtype.kind not in "iu":
        raise ShapeError(f"{what} must be integers; got dtype {array.dtype}: use .astype(np.int64)")
    return array


def first_outside(values: Array, count: int) -> tuple[int, str] | None:
    """Return the first of ``values`` that is not in 0..count-1, and its index in words."""
    outside = (values < 0) | (values >= count)
    if not outside.any():
        return None
    at = np.unravel_index(int(np.argmax(outside)), values.shape)
    return int(values[at]), ", ".join(str(int(i)) for i in at) or "()"
