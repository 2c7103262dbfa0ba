"""Large matrix products of float32 as six of bfloat16 each, on CPUs with tiles for these (AMX).

A float32 has 24 bits, and is exactly the sum of three numbers of bfloat16, which have 8. So the
product of two is that of their parts, added up in float32; what is left out (the last parts with
one another) is less than the last bit. One core of a Granite Rapids takes 0.5 to 0.75 of the time
of oneDNN's and MKL's products in float32, and errors of sums are no larger: of 384 products 0.43,
of 1,024 0.75, of 2,048 1.0 of theirs.

Two things differ. What is below 1.2e-38 counts as 0, numbers of a factor and sums alike, and
numbers below 2e-31 lose digits on the way there: tiles know no smaller ones. Rows and columns with
a NaN or an infinity are computed apart.

Source: Henry, Tang and Heinecke, Leveraging the bfloat16 artificial intelligence datatype for
higher-precision computations, ARITH 2019. Blocks are those of Goto and van de Geijn 2008.
"""

from __future__ import annotations

import numpy as np

from distgrad import blas
from distgrad.autograd.types import Array
from distgrad.kernels import amx, amx_tiles
from distgrad.kernels.amx_tiles import SIDE, STEP
from distgrad.kernels.jit import exact_kernel, inlined, part
from distgrad.kernels.scalars import element, set_element
from distgrad.kernels.split_panels import (
    HEAD,
    LARGEST,
    columns_in_parts,
    lines_in_parts,
    reaches,
    turned_in_parts,
)
from distgrad.kernels.vectors import (
    address,
    apart,
    broadcast,
    load,
    load_some,
    store,
    store_some,
)

_DEPTH = 512
"""Of the inner axis, how much is multiplied before c is written."""
_ROWS, _COLUMNS = 256, 2048
"""Of a and of b, how much is in parts at a time: of a what half of a core's cache holds."""
_CACHE = 1_700_000
"""Bytes of parts that stay in a core's cache."""
_WORD = 4


def usable() -> bool:
    """Whether large products of float32 are computed so now."""
    return amx.multiplies() and blas.threads() == 1


def gains(m: int, k: int, n: int, count: int = 1) -> bool:
    """Whether that takes less time than a library's product in float32, or so many of them.

    In nanoseconds, measured on a Granite Rapids: whole blocks, parts, c; beside 130 GF/s.
    """
    blocks, parts = _up(m) * _up(k) * _up(n) / 165, (m + n) * k / 5
    return n > SIDE and blocks + parts + m * n / 20 + 1000 + 2000 / count < m * k * n / 65


def repays(m: int, k: int, n: int, times: int) -> bool:
    """Whether that takes less time for so many products with one left factor of m rows.

    Its parts have to stay in the cache of a core, from which they come more slowly than a small
    block's, which are multiplied with many columns.
    """
    blocks, parts = _up(m) * _up(k) * _up(n) / 110, (m / times + n) * k / 5
    fits = parts_of(m, k) * _WORD <= _CACHE
    return fits and blocks + parts + m * n / 20 + 1500 < m * k * n / 65


def parts_of(m: int, k: int) -> int:
    """Return how many words the parts of a left factor take."""
    return _up(m) * _up(k) // SIDE**2 * STEP + HEAD + 16


def room(m: int, k: int, n: int) -> int:
    """Return how many words a product needs for the parts of a and b."""
    depth = _up(min(k, _DEPTH))
    rows = block_of(m)
    lines = rows + (SIDE if m <= rows else _up(min(n, _COLUMNS)))
    return lines * depth // SIDE**2 * STEP + HEAD + SIDE * SIDE + 16


def _up(n: int) -> int:
    return (n + SIDE - 1) // SIDE * SIDE


def block_of(m: int) -> int:
    """Return how many rows of a are in parts at a time: in blocks of one height."""
    blocks = (m + _ROWS - 1) // _ROWS
    return (m + blocks * SIDE - 1) // (blocks * SIDE) * SIDE


@exact_kernel
def multiply_in_parts(
    a: Array, b: Array, c: Array, outer: int, inner: int, m: int, k: int, n: int,
    a_out: int, b_out: int, c_out: int, a_in: int, b_in: int, c_in: int,
    a_row: int, b_row: int, c_row: int, turn_a: bool, turn_b: bool, block: int, room: Array,
) -> None:  # fmt: skip
    """Let each c, m rows of n numbers, be its a b: of outer times inner products, so far apart.

    Rows are so far from each other; of a factor that is turned the columns are. ``block`` rows of a
    are in parts at a time. The bits of a sum depend on k alone.
    """
    start = -(address(room, 0) // _WORD) % 16  # the largest number yet; then what turns a block
    in_a = start + HEAD + SIDE * SIDE
    for one in range(outer * inner):
        i, j = one // inner, one % inner
        at_a, at_b, at_c = i * a_out + j * a_in, i * b_out + j * b_in, i * c_out + j * c_in
        store(room, start, broadcast(np.float32(0)))
        amx_tiles.begin()
        for left in range(0, n, _COLUMNS):
            right = n if n - left < _COLUMNS else left + _COLUMNS
            for first in range(0, k, _DEPTH):
                depth = k - first if k - first < _DEPTH else _DEPTH
                panel = (depth + SIDE - 1) // SIDE * STEP
                in_b = in_a + block // SIDE * panel
                for top in range(0, m, block):
                    rows = m - top if m - top < block else block
                    at = at_a + (top + first * a_row if turn_a else top * a_row + first)
                    _left(a, at, a_row, turn_a, rows, depth, room, start, in_a, panel)
                    for q in range(left, right, SIDE):
                        side = right - q if right - q < SIDE else SIDE
                        to = in_b if m <= block else in_b + (q - left) // SIDE * panel
                        if top == 0 and turn_b:
                            at = at_b + q * b_row + first
                            turned_in_parts(b, at, b_row, not turn_b, side, depth, room, start, to)
                        elif top == 0:
                            at = at_b + first * b_row + q
                            columns_in_parts(b, at, b_row, side, depth, room, start, to)
                        _panel(
                            *(c, at_c + top * c_row + q, c_row, rows, side, first > 0, depth),
                            *(room, in_a, room, start, to),
                        )
        amx_tiles.end()
        if reaches(room, start):
            _mend(a, b, c, at_a, at_b, at_c, m, k, n, a_row, b_row, c_row, turn_a, turn_b)


@inlined
def _left(
    a: Array, at: int, row: int, turned: bool, lines: int, depth: int, room: Array, start: int,
    to: int, panel: int,
) -> None:  # fmt: skip
    """Write the panels of so many lines of a left factor, of which the first begins at ``at``."""
    for i in range(0, lines, SIDE):
        side = lines - i if lines - i < SIDE else SIDE
        if turned:
            turned_in_parts(a, at + i, row, turned, side, depth, room, start, to)
        else:
            lines_in_parts(a, at + i * row, row, side, depth, room, start, to)
        to += panel


@exact_kernel
def split_factor(a: Array, m: int, k: int, a_row: int, turn_a: bool, parts: Array) -> None:
    """Write the parts of a left factor of many products."""
    start = -(address(parts, 0) // _WORD) % 16
    store(parts, start, broadcast(np.float32(0)))
    to = start + HEAD
    for first in range(0, k, _DEPTH):
        depth = k - first if k - first < _DEPTH else _DEPTH
        panel = (depth + SIDE - 1) // SIDE * STEP
        at = first * a_row if turn_a else first
        _left(a, at, a_row, turn_a, m, depth, parts, start, to, panel)
        to += (m + SIDE - 1) // SIDE * panel


@exact_kernel
def multiply_by_factor(
    a: Array, b: Array, c: Array, m: int, k: int, n: int, a_row: int, turn_a: bool, parts: Array,
    room: Array,
) -> None:  # fmt: skip
    """Do what ``multiply_in_parts`` does for dense b and c and an a that has its ``parts``."""
    start, start_a = -(address(room, 0) // _WORD) % 16, -(address(parts, 0) // _WORD) % 16
    store(room, start, load(parts, start_a))
    in_b = start + HEAD + SIDE * SIDE
    amx_tiles.begin()
    for j in range(0, n, SIDE):
        side, in_a = n - j if n - j < SIDE else SIDE, start_a + HEAD
        for first in range(0, k, _DEPTH):
            depth = k - first if k - first < _DEPTH else _DEPTH
            columns_in_parts(b, first * n + j, n, side, depth, room, start, in_b)
            _panel(c, j, n, m, side, first > 0, depth, parts, in_a, room, start, in_b)
            in_a += (m + SIDE - 1) // SIDE * ((depth + SIDE - 1) // SIDE * STEP)
    amx_tiles.end()
    if reaches(room, start):
        _mend(a, b, c, 0, 0, 0, m, k, n, a_row, n, n, turn_a, False)


@inlined
def _panel(
    c: Array, at: int, row: int, rows: int, columns: int, more: bool, depth: int, parts: Array,
    in_a: int, room: Array, start: int, in_b: int,
) -> None:  # fmt: skip
    """Compute columns of c, 32 at most, from ``at`` on; or add to them, if ``more``."""
    steps = (depth + SIDE - 1) // SIDE
    edge = start + HEAD
    b = address(room, in_b)
    for i in range(0, rows, SIDE):
        a, place, high = address(parts, in_a + i * steps * STEP // SIDE), at + i * row, rows - i
        if high >= SIDE and columns == SIDE:
            amx_tiles.multiply_tiles(a, b, steps, address(c, place), row * _WORD, more)
            continue
        to, high = address(room, edge), high if high < SIDE else SIDE
        if more:
            for r in range(high):
                line, at_c = edge + r * SIDE, place + r * row
                store(room, line, load_some(c, at_c, columns))
                store(room, line + 16, load_some(c, at_c + 16, columns - 16))
        amx_tiles.multiply_tiles(a, b, steps, to, SIDE * _WORD, more)
        for r in range(high):
            line, at_c = edge + r * SIDE, place + r * row
            store_some(c, at_c, columns, load(room, line))
            store_some(c, at_c + 16, columns - 16, load(room, line + 16))


@part
def _mend(
    a: Array, b: Array, c: Array, at_a: int, at_b: int, at_c: int, m: int, k: int, n: int,
    a_row: int, b_row: int, c_row: int, turn_a: bool, turn_b: bool,
) -> None:  # fmt: skip
    """Compute rows and columns anew that have a NaN, an infinity, or a number as good as one."""
    apart()
    a_down, a_right = (1, a_row) if turn_a else (a_row, 1)
    b_down, b_right = (1, b_row) if turn_b else (b_row, 1)
    for columns in (False, True):
        if columns:  # of b: the rows of bᵀ, whose product with aᵀ is cᵀ
            a, b, at_a, at_b, m, n = b, a, at_b, at_a, n, m
            a_down, a_right, b_down, b_right = b_right, b_down, a_right, a_down
        for i in range(m):
            largest = np.float32(0)
            for q in range(k):
                x = abs(element(a, at_a + i * a_down + q * a_right))
                if not x <= largest:  # NaN is, too, and stays
                    largest = x
                if largest != largest:
                    break
            if largest < LARGEST:
                continue
            for j in range(n):
                found = largest if largest != largest else np.float32(0)
                if largest == largest:
                    for q in range(k):
                        one = element(a, at_a + i * a_down + q * a_right)
                        found += one * element(b, at_b + q * b_down + j * b_right)
                to = at_c + (j * c_row + i if columns else i * c_row + j)
                set_element(c, to, found)
