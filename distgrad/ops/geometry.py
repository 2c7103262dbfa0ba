"""Windows over the last axes of (n, c, …): settings, one number per axis, and their counts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.types import Ints
from distgrad.errors import ShapeError

Numbers = tuple[int, ...]


class Windows(NamedTuple):
    """Kernel, stride, padding (before and after alike) and dilation, a number per axis each."""

    kernel: Numbers
    stride: Numbers
    padding: Numbers
    dilation: Numbers

    def counts(self, lengths: Numbers) -> Numbers:
        """Return how many windows fit along each axis. Errors: ShapeError if none does."""
        return _counts(self, lengths)


@functools.lru_cache(maxsize=256)
def _counts(windows: Windows, lengths: Numbers) -> Numbers:
    return tuple(output_length(*axis) for axis in zip(lengths, *windows, strict=True))


def numbers(value: Any, count: int, name: str) -> Numbers:
    """Return a number ``count`` times, or the ``count`` numbers given. Errors: ShapeError."""
    if isinstance(value, int | np.integer):
        return (int(value),) * count
    try:
        found = tuple(int(v) for v in value if v == int(v))
        fits = len(found) == len(value) == count
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ShapeError(
            f"{name} is a whole number or {count} of them, one for each of the last {count} axes; "
            f"got {value!r}"
        )
    return found


def windows_of(kernel: Sequence[int], stride: Ints, padding: Ints, dilation: Ints) -> Windows:
    """Return the settings of windows with ``kernel`` (a sequence). Errors: ShapeError."""
    try:
        return _known_windows(kernel, stride, padding, dilation)
    except TypeError:  # a list has no hash
        return _windows_of(kernel, stride, padding, dilation)


def _windows_of(kernel: Sequence[int], stride: Ints, padding: Ints, dilation: Ints) -> Windows:
    count = len(kernel)
    return Windows(
        numbers(kernel, count, "kernel"),
        numbers(stride, count, "stride"),
        numbers(padding, count, "padding"),
        numbers(dilation, count, "dilation"),
    )


# By types, too: 1.0 is no number of elements.
_known_windows = functools.lru_cache(maxsize=256, typed=True)(_windows_of)


def output_length(length: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Return how many windows fit along one axis. Errors: ShapeError if none does."""
    if kernel < 1 or stride < 1 or dilation < 1 or padding < 0:
        raise ShapeError(
            f"kernel, stride and dilation start at 1, padding at 0; got kernel={kernel}, "
            f"stride={stride}, dilation={dilation}, padding={padding}"
        )
    reach = dilation * (kernel - 1) + 1
    if length + 2 * padding < reach:
        raise ShapeError(
            f"a window of {reach} (kernel {kernel}, dilation {dilation}) does not fit in a length "
            f"of {length} + 2 x {padding} of padding; use a smaller kernel or more padding"
        )
    return (length + 2 * padding - reach) // stride + 1
