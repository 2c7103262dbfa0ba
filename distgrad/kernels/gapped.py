"""Twins of sums, differences and products of rows: slices, and one number for each row.

NumPy goes over them through a buffer, which costs as much as 300 elements for every row. What is
one row in memory is NumPy's own. The values have NumPy's bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Shape
from distgrad.kernels.jit import exact_kernel, part
from distgrad.kernels.meeting import doubles_at, floats_at
from distgrad.kernels.scalars import array_at
from distgrad.ops.elementwise import as_is

_AXES = 4  # of rows and the elements of one, once neighbours are joined


def add(a: Any, b: Any) -> OpResult | None:
    """The twin of ``ops.add``."""
    y = _by_rows(_add, a, b)
    return None if y is None else (y, (as_is, as_is))


def subtract(a: Any, b: Any) -> OpResult | None:
    """The twin of ``ops.subtract``."""
    y = _by_rows(_subtract, a, b)
    return None if y is None else (y, (as_is, np.negative))


def multiply(a: Any, b: Any) -> OpResult | None:
    """The twin of ``ops.multiply``."""
    y = _by_rows(_multiply, a, b)
    return None if y is None else (y, (lambda g: product(g, b), lambda g: product(g, a)))


def product(a: Array, b: Array) -> Array:
    """``np.multiply``, by the kernel where these are rows."""
    y = _by_rows(_multiply, a, b)
    return np.multiply(a, b) if y is None else y


def _by_rows(kernels: dict[Any, Callable[..., None]], a: Any, b: Any) -> Array | None:
    """Return what NumPy's ufunc would; None for what it does as fast, and for other arrays."""
    if type(a) is not np.ndarray or type(b) is not np.ndarray or a.dtype != b.dtype:
        return None
    kernel = kernels.get(a.dtype)
    if kernel is None or not (a.flags.aligned and b.flags.aligned):
        return None
    found = _rows(a.shape, a.strides, b.shape, b.strides, a.itemsize)
    if found is None:
        return None
    shape, axes = found
    y = np.empty(shape, a.dtype)
    kernel(axes, y.ctypes.data, a.ctypes.data, b.ctypes.data)
    return y


@functools.lru_cache(maxsize=256)
def _rows(
    of_a: Shape, strides_a: Shape, of_b: Shape, strides_b: Shape, itemsize: int
) -> tuple[Shape, Array] | None:
    """Return the result's shape, and rows as four axes: lengths, strides of a, strides of b."""
    shape = np.broadcast_shapes(of_a, of_b)
    axes = _joined(shape, _strides(of_a, strides_a, shape), _strides(of_b, strides_b, shape))
    if not _are_rows(axes, itemsize):
        return None
    return shape, np.array([(1, 0, 0)] * (_AXES - len(axes)) + axes, np.int64)


def _strides(own: Shape, strides: Shape, shape: Shape) -> list[int]:
    """Return the strides of an array that is broadcast to ``shape``."""
    moved = [0 if n == 1 else s for n, s in zip(own, strides, strict=True)]
    return [0] * (len(shape) - len(own)) + moved


def _joined(shape: Shape, of_a: list[int], of_b: list[int]) -> list[tuple[int, int, int]]:
    """Return axes as (length, stride of a, of b); those that are one in both arrays are joined."""
    axes: list[tuple[int, int, int]] = []
    for n, s, t in zip(shape, of_a, of_b, strict=True):
        if n == 1:
            continue
        if axes and axes[-1][1:] == (n * s, n * t):
            n *= axes.pop()[0]  # noqa: PLW2901
        axes.append((n, s, t))
    return axes


def _are_rows(axes: list[tuple[int, int, int]], itemsize: int) -> bool:
    """Whether these are several rows, which follow each other in memory as the axes do.

    Then NumPy's result is in C order, too.
    """
    if not 1 < len(axes) <= _AXES or any(n == 0 for n, _, _ in axes):
        return False
    _, *last = axes[-1]
    if sorted(last) not in ([0, itemsize], [itemsize, itemsize]):
        return False
    for strides in ([s for _, s, _ in axes], [t for _, _, t in axes]):
        moving = [s for s in strides if s]
        if moving != sorted(moving, reverse=True) or min(strides) < 0:
            return False
    return True


def _kernels(formula: Callable[[Any, Any], Any]) -> dict[Any, Callable[..., None]]:
    return {
        np.dtype(np.float32): _kernel(part(formula), floats_at, 4),
        np.dtype(np.float64): _kernel(part(formula), doubles_at, 8),
    }


def _kernel(formula: Any, at: Any, size: int) -> Callable[..., None]:
    # By addresses: an index of an array with gaps costs a product, and forbids vectors.
    def loop(axes: Array, y: int, a: int, b: int) -> None:
        n, m, count = axes[1, 0], axes[2, 0], axes[3, 0]
        for row in range(axes[0, 0] * n * m):
            i, j, k = row // (n * m), row // m % n, row % m
            x = a + i * axes[0, 1] + j * axes[1, 1] + k * axes[2, 1]
            z = b + i * axes[0, 2] + j * axes[1, 2] + k * axes[2, 2]
            to = array_at(at(y + row * count * size), count)
            if axes[3, 1] == 0:
                of_all = array_at(at(x), 1)[0]
                right = array_at(at(z), count)
                for c in range(count):
                    to[c] = formula(of_all, right[c])
            elif axes[3, 2] == 0:
                left, of_all = array_at(at(x), count), array_at(at(z), 1)[0]
                for c in range(count):
                    to[c] = formula(left[c], of_all)
            else:
                left, right = array_at(at(x), count), array_at(at(z), count)
                for c in range(count):
                    to[c] = formula(left[c], right[c])

    return exact_kernel(loop)


_add = _kernels(lambda a, b: a + b)
_subtract = _kernels(lambda a, b: a - b)
_multiply = _kernels(lambda a, b: a * b)
