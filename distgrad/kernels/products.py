"""Twins of matrix products that are faster without a BLAS: narrow ones, and stacks of small ones.

A BLAS is made for large matrices: it copies both, and looks at much, before it multiplies. What
is narrow is multiplied in registers where it lies, or after one copy of the right factor (Goto and
van de Geijn 2008 has the blocks). Sums are taken in one order, whatever the processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Operand, Shape
from distgrad.blas import cpu
from distgrad.kernels import onednn_products, split_products
from distgrad.kernels.arrays import Scalar, dense, empty, on_forms, readable, run, spanned
from distgrad.kernels.jit import exact_kernel, inlined, part
from distgrad.kernels.machine import add_row
from distgrad.kernels.scalars import empty_of, least
from distgrad.kernels.tiles import ROWS, VECTORS, tile, turn, wide_tile
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
_SOME = 1 << 12
"""The same of products that NumPy computes without a BLAS, or with a call of it for each."""
_SMALL = 64
"""Multiplications of each product of a stack, at most, that are less work than a call."""
_NARROW, _LONG = 64, 256
"""Columns and inner axis at most, and rows at least, of what pays on any processor."""
_WIDE, _MOST = (512, 1 << 26) if ROWS == 8 and cpu().halves_avx512 else (0, 0)
"""Columns and multiplications, at most, of whole blocks that pay on a Zen 4."""

_ndarray = np.ndarray


class Others(NamedTuple):
    """Who else than NumPy's BLAS computes large products of float32: in tiles, or a library."""

    tiles: bool
    library: bool


_NOBODY = Others(tiles=False, library=False)


@on_forms
def linear(x: Array, weight: Array, bias: Array | None) -> OpResult | None:
    """The twin of ``ops.linear``."""
    if not _known(x, weight) or not _some_of(x.shape, weight.shape[::-1], _others(x, weight)):
        return None
    return linear_by(product, x, weight, bias, _add)


def _add(y: Array, bias: Array, out: Array) -> Array:
    if type(y) is not _ndarray or not bias.flags.c_contiguous or not y.flags.c_contiguous:
        return np.add(y, bias, out=out)
    add_row(y, readable(bias), out)  # in half of NumPy's time
    return out


@on_forms
def matmul(a: Operand, b: Operand) -> OpResult | None:
    """The twin of ``ops.matmul``."""
    if not _known(a, b):
        return None
    if not _some_of(a.shape, b.shape, _others(a, b)):  # type: ignore[union-attr]
        return None
    return matmul_by(product, a, b)


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """Return ``np.matmul(a, b)``, in ``out`` if it is given."""
    way = way_of(a, b)
    if way is not None and (out is None or _takes(way, out)):
        y = empty(a, (*a.shape[:-1], b.shape[-1])) if out is None else out
        way(a, b, y)
        return y
    return np.matmul(a, b) if out is None else np.matmul(a, b, out=out)


def way_of(a: Array, b: Array) -> Callable[[Array, Array, Array], None] | None:
    """Return what writes the product of such matrices to a dense array faster than NumPy."""
    if not _known(a, b):
        return None
    others = _others(a, b)
    way = _way(a.shape, b.shape, others)
    # It takes 20 MB of memory and a tenth of a second: only what it multiplies has it loaded.
    if way is _in_library and onednn_products.functions() is None:
        return _way(a.shape, b.shape, others._replace(library=False))
    return way


def _takes(way: Any, out: Array) -> bool:
    """Whether a way writes to ``out``: some also where its rows have gaps between them."""
    if out.flags.c_contiguous:
        return True
    down, right = out.strides[-2:]
    in_lines = len(out.shape) == 2 and right == out.itemsize and down >= out.shape[-1] * right
    return way in (_in_library, _in_parts) and in_lines


def _known(a: Any, b: Any) -> bool:
    """Whether both are arrays of one dtype, float32 or float64."""
    kind = type(a)
    return (
        type(b) is kind
        and (kind is _ndarray or hasattr(a, "tape"))
        and a.dtype.char in "fd"
        and b.dtype == a.dtype
    )


def _others(a: Any, b: Any) -> Others:
    """Return who else than the BLAS computes products of such matrices where they are large."""
    # As many multiplications at most: asking costs a microsecond.
    if a.size * b.size < _WORTHWHILE or a.dtype.char != "f":
        return _NOBODY
    return Others(split_products.usable(), onednn_products.faster())


@lru_cache(maxsize=1024)
def _some_of(a: Shape, b: Shape, others: Others) -> bool:
    """Whether any product of a step, forward or backward, of a and b has a way of its own."""
    if not a or not b:
        return False
    (*lead, m, k), (*other, rows, n) = (a if len(a) > 1 else (1, *a)), (b if b[1:] else (*b, 1))
    if not other:  # one product of all rows
        m, lead = m * math.prod(lead), []
    if k != rows or (lead and lead != other):
        return False
    whole = other  # of a stack that one matrix is multiplied with
    return any(
        _way(one, two, others) is not None
        for one, two in (
            ((*lead, m, k), (*other, k, n)),
            ((*whole, m, n), (*other, n, k)),
            ((*lead, k, m), (*whole, m, n)),
        )
    )


@lru_cache(maxsize=1024)
def _way(a: Shape, b: Shape, others: Others) -> Callable[[Array, Array, Array], None] | None:
    """Return what computes a product of these shapes faster than NumPy; by the shapes alone.

    Measured on one core of a Zen 4 beside OpenBLAS 0.3.31, float32: 2,048 × 32 times 32 × 32 takes
    0.84 of the time, 0.85 of it with AVX2 alone; 768 × 128 times 128 × 384 0.94, whose BLAS does
    best with AVX2 kernels there, but 1.01 with AVX2 alone; of 20,000 products of 3 × 3 0.30.
    By oneDNN on a Granite Rapids 3 × 1,000 times 1,000 × 1,000 takes 0.5, 2,048 × 32 times 32 × 32
    0.69, 128 × 1,024 times 1,024 × 1,024 0.83, and 1,024 × 384 times 384 × 1,536 0.88.
    """
    if len(a) != len(b) or len(a) < 2 or a[:-2] != b[:-2] or a[-1] != b[-2]:
        return None
    m, k, n = *a[-2:], b[-1]
    each, count = m * k * n, math.prod(a) * n
    if k == 1:
        return _outer if count >= _SOME else None
    if others.tiles and each and split_products.gains(m, k, n, count // each):
        return _in_parts
    if len(a) > 2:
        return _stack if 0 < each <= _SMALL and count >= _SOME else None
    if count < _WORTHWHILE or min(m, n) < 2 or not (others.library or _fits(m, k, n)):
        return None
    return _in_library if others.library else _in_registers


def _fits(m: int, k: int, n: int) -> bool:
    """Whether a matrix product is sooner computed in registers."""
    whole = not (m % _BLOCK or n % _BLOCK)
    if min(m, n) < _BLOCK or (k > _DEPTH and not whole):
        return False  # the kernel adds to blocks that have nothing in common
    narrow = max(k, n) <= _NARROW and m >= _LONG
    return narrow or (whole and not k % _BLOCK and n <= _WIDE and m * k * n <= _MOST)


def _outer(a: Array, b: Array, y: Array) -> None:
    m, n = y.shape[-2:]
    if n == 1:  # the long axis last
        (a, m), (b, n) = (b, n), (a, m)
    run(
        *(outer_products, dense(a).reshape(-1, m), dense(b).reshape(-1, n), y.reshape(-1, m, n)),
        *(y.dtype.type(0),),
        writes=(2,),
    )


def _stack(a: Array, b: Array, y: Array) -> None:
    m, n = y.shape[-2:]
    k = a.shape[-1]
    left, right = dense(a).reshape(-1, m, k), dense(b).reshape(-1, k, n)
    run(small_products, left, right, y.reshape(-1, m, n), writes=(2,))


def _in_library(a: Array, b: Array, y: Array) -> None:
    (a, row), (b, column) = in_steps(a), in_steps(b)
    functions = onednn_products.functions()
    assert functions is not None  # way_of has asked
    run(
        *(onednn_products.multiply_by_library, row, column, spanned(y)),
        *(*a.shape, b.shape[1], *_lines(a, b, y), *functions),
        writes=(2,),
    )


def _in_parts(a: Array, b: Array, y: Array) -> None:
    if len(a.shape) > 4:
        a, b, y = [x.reshape(-1, *x.shape[-3:]) for x in (a, b, y)]
    (a, row), (b, column) = in_steps(a), in_steps(b)
    count = (1, 1, *a.shape[:-2])[-2:]
    sizes = *a.shape[-2:], b.shape[-1]
    leads = [(0, 0, *x.strides[:-2])[-2:] for x in (a, b, y)]
    apart = [lead[i] // a.itemsize for i in (0, 1) for lead in leads]
    room = empty(y, (split_products.room(*sizes),))
    run(
        *(split_products.multiply_in_parts, row, column, spanned(y)),
        *(*count, *sizes, *apart, *_lines(a, b, y), split_products.block_of(sizes[0]), room),
        writes=(2, 20),
    )


def _lines(a: Array, b: Array, y: Array) -> tuple[Any, ...]:
    """Return how far lines are apart, and whether those of each factor are not rows but columns."""
    item = a.itemsize
    turned = [x.strides[-1] != item for x in (a, b)]
    far = [x.strides[-1 if t else -2] // item for x, t in zip((a, b), turned, strict=True)]
    return *far, y.strides[-2] // item, *turned


def in_steps(a: Array) -> tuple[Array, Array]:
    """Return matrices whose rows or columns lie in a row each, copied if need be; their memory."""
    row, item = _memory(a), a.itemsize
    (rows, columns), (down, right) = a.shape[-2:], a.strides[-2:]
    if row is None or not (
        (right == item and down >= columns * item) or (down == item and right >= rows * item)
    ):
        a = a.copy()
        row = a.reshape(-1)
    return a, row


def _in_registers(a: Array, b: Array, y: Array) -> None:
    (m, k), (_, n), item = a.shape, b.shape, a.itemsize
    rows = _memory(a)
    if rows is None:
        a = a.copy()
        rows = a.reshape(-1)
    b, columns = in_steps(b)
    (a_row, a_step), (b_row, b_step) = a.strides, b.strides
    run(
        *(multiply_matrices, rows, columns, y.reshape(-1), m, k, n),
        *(a_row // item, a_step // item, b_row // item, b_step // item),
        writes=(2,),
    )


def _memory(a: Array) -> Array | None:
    """Return the memory of matrices from the first element on; None if it runs backwards."""
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
    wide = VECTORS * w
    panels = b_step != 1 or b_row * item >= _FAR
    # Of what is turned more is written than there is.
    room = empty_of((least(k, _DEPTH) + w) * (n + wide) if panels else w, a.dtype)
    for first in range(0, k, _DEPTH):
        depth = least(k - first, _DEPTH)
        if panels:
            _turned(b, first * b_row, b_row, b_step, depth, n, w, room)
        # The last block begins where it ends with the matrix: what it has in common with the one
        # before is computed twice, to the same bits.
        for row in range(0, m, w):
            i = least(row, m - w)
            rows = address(a, i * a_row + first * a_step)
            column = 0
            while column < n:
                whole = column + wide <= n
                j = column if whole else least(column, n - w)
                columns, columns_row = address(b, first * b_row + j), b_row
                if panels:
                    columns, columns_row = address(room, _panel(column, depth, wide)), wide
                for r in range(0, w, ROWS):
                    from_, to = rows + r * a_row * item, address(c, (i + r) * n + j)
                    if whole:
                        wide_tile(
                            *(room, from_, a_row, a_step, columns, columns_row),
                            *(to, n, depth, first > 0),
                        )
                    else:
                        tile(
                            *(room, from_, a_row, a_step, columns, columns_row),
                            *(to, n, depth, first > 0),
                        )
                column += wide if whole else w


@part
def _turned(
    b: Array, at: int, row: int, step: int, depth: int, n: int, w: int, room: Array
) -> None:
    """Write panels of columns, the numbers of each row side by side."""
    apart()
    wide = VECTORS * w
    for column in range(0, n, w):
        place, to = at + least(column, n - w) * step, _panel(column, depth, wide)
        if step == 1:
            for q in range(depth):
                store(room, to + q * wide, load(b, place + q * row))
        else:
            for q in range(0, depth, w):
                turn(b, place + q * row, step, w, depth - q, room, to + q * wide, wide)


@inlined
def _panel(column: int, depth: int, wide: int) -> int:
    """Return where in its panel a column begins."""
    return column // wide * wide * depth + column % wide


@exact_kernel
def outer_products(a: Array, b: Array, c: Array, zero: Scalar) -> None:
    """Columns times rows; 0 is added, as to every sum of products, so that no -0 comes out."""
    for s in range(c.shape[0]):
        for i in range(c.shape[1]):
            x = a[s, i]
            for j in range(c.shape[2]):
                c[s, i, j] = x * b[s, j] + zero


@exact_kernel
def small_products(a: Array, b: Array, c: Array) -> None:
    """Stacks of matrices of a few numbers each."""
    for s in range(c.shape[0]):
        for i in range(c.shape[1]):
            for j in range(c.shape[2]):
                total = c.dtype.type(0)
                for k in range(a.shape[2]):
                    total += a[s, i, k] * b[s, k, j]
                c[s, i, j] = total
