"""Twins of windows as columns and back, over one and two axes."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Ints
from distgrad.kernels.arrays import dense, suits
from distgrad.kernels.jit import inlined, kernel
from distgrad.kernels.scalars import least, most
from distgrad.ops.geometry import Numbers, Windows, windows_of


def unfold(
    x: Array, *, kernel: Numbers, stride: Ints, padding: Ints, dilation: Ints
) -> OpResult | None:
    """The twin of ``ops.unfold``."""
    if not suits(x) or len(kernel) != x.ndim - 2 or x.ndim > 4:
        return None
    windows = windows_of(kernel, stride, padding, dilation)
    size = x.shape[2:]
    return _cut(x, windows), lambda g: _added(g, size, windows)


def fold(
    y: Array, *, size: Numbers, kernel: Numbers, stride: Ints, padding: Ints, dilation: Ints
) -> OpResult | None:
    """The twin of ``ops.fold``."""
    if not suits(y) or y.ndim != 3 or not len(kernel) == len(size) < 3:
        return None
    windows = windows_of(kernel, stride, padding, dilation)
    if y.shape[1] % math.prod(kernel) or y.shape[2] != math.prod(windows.counts(size)):
        return None  # the reference says what does not fit
    return _added(y, size, windows), lambda g: _cut(g, windows)


def _cut(x: Array, windows: Windows) -> Array:
    n, c, *size = x.shape
    counts, places = windows.counts(tuple(size)), math.prod(windows.kernel)
    y = np.empty((n, c * places, math.prod(counts)), x.dtype)
    planes = dense(x).reshape(n * c, *(1,) * (2 - len(size)), *size)
    _columns(planes, _plane(windows), y.reshape(n * c, *_kernel(windows), *_two(counts)))
    return y


def _added(y: Array, size: Numbers, windows: Windows) -> Array:
    n, c = y.shape[0], y.shape[1] // math.prod(windows.kernel)
    x = np.zeros((n, c, *size), y.dtype)
    columns = dense(y).reshape(n * c, *_kernel(windows), *_two(windows.counts(size)))
    _add_columns(columns, _plane(windows), x.reshape(n * c, *_two(size)))
    return x


def _two(numbers: Numbers, filler: int = 1) -> Numbers:
    return (*(filler,) * (2 - len(numbers)), *numbers)


def _kernel(windows: Windows) -> Numbers:
    return _two(windows.kernel)


def _plane(windows: Windows) -> Numbers:
    return (*_two(windows.stride), *_two(windows.padding, 0), *_two(windows.dilation))


@inlined
def _reached(shift: int, step: int, count: int, length: int) -> tuple[int, int]:
    """Return the windows, first and one past the last, whose element lies inside."""
    first = (step - 1 - shift) // step if shift < 0 else 0
    end = (length - 1 - shift) // step + 1 if shift < length else 0
    return least(first, count), most(least(end, count), least(first, count))


@kernel
def _columns(x: Array, how: Numbers, y: Array) -> None:
    sh, sw, ph, pw, dh, dw = how
    zero = x.dtype.type(0)
    for p in range(x.shape[0]):
        for a in range(y.shape[1]):
            top, bottom = _reached(a * dh - ph, sh, y.shape[3], x.shape[1])
            for b in range(y.shape[2]):
                shift = b * dw - pw
                first, end = _reached(shift, sw, y.shape[4], x.shape[2])
                for i in range(y.shape[3]):
                    inside = (i >= top) & (i < bottom)
                    r = i * sh - ph + a * dh if inside else 0
                    begin, stop = (first, end) if inside else (0, 0)
                    for j in range(begin):
                        y[p, a, b, i, j] = zero
                    if sw == 1:
                        to, line = y[p, a, b, i, begin:stop], x[p, r, most(begin + shift, 0) :]
                        for j in range(to.size):
                            to[j] = line[j]
                    else:
                        for j in range(begin, stop):
                            y[p, a, b, i, j] = x[p, r, j * sw + shift]
                    for j in range(stop, y.shape[4]):
                        y[p, a, b, i, j] = zero


@kernel
def _add_columns(y: Array, how: Numbers, x: Array) -> None:
    # Place after place of the kernel: each element is summed in the reference's order.
    sh, sw, ph, pw, dh, dw = how
    for p in range(x.shape[0]):
        for a in range(y.shape[1]):
            top, bottom = _reached(a * dh - ph, sh, y.shape[3], x.shape[1])
            for b in range(y.shape[2]):
                shift = b * dw - pw
                first, end = _reached(shift, sw, y.shape[4], x.shape[2])
                for i in range(top, bottom):
                    r = i * sh - ph + a * dh
                    if sw == 1:
                        line, part = x[p, r, first + shift :], y[p, a, b, i, first:end]
                        for j in range(part.size):
                            line[j] += part[j]
                    else:
                        for j in range(first, end):
                            x[p, r, j * sw + shift] += y[p, a, b, i, j]
