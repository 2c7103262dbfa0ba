"""Twins of matrix products: of matrices of some width, in registers, without a BLAS.

A BLAS is made for large matrices: it copies both, and looks at much, before it multiplies. What
is narrow is multiplied where it lies, or after one copy of the right factor. Sums are taken in the
order of the inner axis, whatever the processor (Goto and van de Geijn 2008 has the blocks).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Operand, Shape
from distgrad.blas import cpu
from distgrad.kernels.arrays import empty, on_forms, readable, run, spanned
from distgrad.kernels.jit import exact_kernel, part
from distgrad.kernels.tiles import ROWS, tile, turn
from distgrad.kernels.vectors import BYTES, address, apart, load, store
from distgrad.ops.linalg import linear_by, matmul_by

_BLOCK = 16
"""Rows and columns of a block in float32."""
_DEPTH = 256
"""Of the inner axis, how much is multiplied at a time: what it needs of b stays in the cache."""
_FAR = 2048
"""Bytes from row to row from which on a cache holds few of them in their places."""
_WORTHWHILE = 1 << 20
"""Multiplications: below, a call of either is what takes the time."""
_OUTER = 1 << 12
"""The same of a column times a row, which NumPy computes without a BLAS."""
_NARROW, _LONG = 64, 256
"""Columns and inner axis at most, and rows at least, of what pays on any processor."""
_WIDE, _MOST = (512, 1 << 26) if ROWS == 8 and cpu().halves_avx512 else (0, 0)
"""Columns and multiplications, at most, of whole blocks that pay on a Zen 4."""

_ndarray = np.ndarray


@on_forms
def linear(x: Array, weight: Array, bias: Array | None) -> OpResult | None:
    """The twin of ``ops.linear``."""
    return linear_by(product, x, weight, bias) if _may_pay(x, weight) else None


@on_forms
def matmul(a: Operand, b: Operand) -> OpResult | None:
    """The twin of ``ops.matmul``."""
    return matmul_by(product, a, b) if _may_pay(a, b) else None


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """Return ``np.matmul(a, b)``, in ``out`` if it is given."""
    if (
        _known(a, b)
        and a.ndim == b.ndim == 2
        and _pays(*a.shape, *b.shape)
        and (out is None or out.flags.c_contiguous)
    ):
        return _in_registers(a, b, out)
    return np.matmul(a, b) if out is None else np.matmul(a, b, out=out)


def _may_pay(a: Any, b: Any) -> bool:
    if type(a) is not _ndarray and not hasattr(a, "tape"):
        return False
    return type(b) is type(a) and _large_enough(a.shape, b.shape) and _known(a, b)


@lru_cache(maxsize=1024)
def _large_enough(a: Shape, b: Shape) -> bool:
    """Whether any product of a step may pay: forward and backward they multiply alike."""
    if min(len(a), len(b)) < 2 or 0 in a:
        return False
    count, rows = math.prod(a) * max(b[-2:]), math.prod(a[:-1])
    return count >= _WORTHWHILE or (count >= _OUTER and 1 in (rows, a[-1], *b))


def _known(a: Any, b: Any) -> bool:
    """Whether both are arrays of one dtype, float32 or float64."""
    kind = type(a)
    return (
        type(b) is kind
        and (kind is _ndarray or hasattr(a, "tape"))
        and a.dtype.char in "fd"
        and b.dtype == a.dtype
    )


@lru_cache(maxsize=1024)
def _pays(m: int, k: int, rows: int, n: int) -> bool:
    """Whether it is faster than the BLAS.

    Measured in float32 on one core, beside OpenBLAS 0.3.31: 2,048 × 32 times 32 × 32 takes 0.84 of
    the time on a Zen 4 and 0.85 of it with AVX2 alone. 768 × 128 times 128 × 384 takes 0.94 on a
    Zen 4, whose BLAS does best with AVX2 kernels, but 1.01 with AVX2 alone.
    """
    if k != rows or min(m, n) < _BLOCK or not k:
        return False
    count = m * k * n
    if k == 1:
        return count >= _OUTER
    if count < _WORTHWHILE:
        return False
    whole = not (m % _BLOCK or n % _BLOCK)
    if k > _DEPTH and not whole:
        return False  # the kernel adds to blocks that have nothing in common
    narrow = max(k, n) <= _NARROW and m >= _LONG
    return narrow or (whole and not k % _BLOCK and n <= _WIDE and count <= _MOST)


def _in_registers(a: Array, b: Array, out: Array | None) -> Array:
    (m, k), (_, n), item = a.shape, b.shape, a.itemsize
    rows, columns = _memory(a), _memory(b)
    if rows is None:
        a = a.copy()
        rows = a.reshape(-1)
    if columns is None or item not in b.strides:
        b = b.copy()
        columns = b.reshape(-1)
    y = empty(a, (m, n)) if out is None else out
    (a_row, a_step), (b_row, b_step) = a.strides, b.strides
    run(
        *(multiply_matrices, rows, columns, y.reshape(-1), m, k, n),
        *(a_row // item, a_step // item, b_row // item, b_step // item),
        writes=(2,),
    )
    return y


def _memory(a: Array) -> Array | None:
    """Return the memory of a matrix from its first element on; None if it runs backwards."""
    flags = a.flags
    if not flags.writeable:
        a = readable(a)
    if flags.c_contiguous:
        return a.reshape(-1)
    turned = a.T
    if turned.flags.c_contiguous:
        return turned.reshape(-1)
    return None if min(a.strides) < 0 else spanned(a)


@exact_kernel
def multiply_matrices(
    a: Array, b: Array, c: Array, m: int, k: int, n: int, a_row: int, a_step: int, b_row: int,
    b_step: int,
) -> None:  # fmt: skip
    """Let c, m rows of n numbers, be a b; neither m nor n is less than a vector.

    If k is more than is multiplied at a time, both are whole vectors.

    Element (i, j) of a stands at i a_row + j a_step, of b likewise. One of b's steps is 1.
    """
    w, item = BYTES // a.itemsize, a.itemsize
    panels = b_step != 1 or b_row * item >= _FAR
    # Of what is turned more is written than there is.
    room = np.empty((min(k, _DEPTH) + w) * (n + w) if panels else w, a.dtype)
    for first in range(0, k, _DEPTH):
        depth = min(k - first, _DEPTH)
        if panels:
            _turned(b, first * b_row, b_row, b_step, depth, n, w, room)
        # The last block begins where it ends with the matrix: what it has in common with the one
        # before is computed twice, to the same bits.
        for row in range(0, m, w):
            i = min(row, m - w)
            rows = address(a, i * a_row + first * a_step)
            for column in range(0, n, w):
                j = min(column, n - w)
                columns, columns_row = address(b, first * b_row + j), b_row
                if panels:
                    columns, columns_row = address(room, column * depth), w
                for r in range(0, w, ROWS):
                    tile(
                        *(room, rows + r * a_row * item, a_row, a_step, columns, columns_row),
                        *(address(c, (i + r) * n + j), n, depth, first > 0),
                    )


@part
def _turned(
    b: Array, at: int, row: int, step: int, depth: int, n: int, w: int, room: Array
) -> None:
    """Write panels of columns, the numbers of each row side by side."""
    apart()
    for column in range(0, n, w):
        place, to = at + min(column, n - w) * step, column * depth
        if step == 1:
            for q in range(depth):
                store(room, to + q * w, load(b, place + q * row))
        else:
            for q in range(0, depth, w):
                turn(b, place + q * row, step, w, depth - q, room, to + q * w)
