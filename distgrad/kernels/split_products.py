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

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from distgrad import blas
from distgrad.autograd.types import Array
from distgrad.kernels import amx, amx_tiles
from distgrad.kernels.jit import exact_kernel, inlined, part
from distgrad.kernels.tiles import turn
from distgrad.kernels.vectors import (
    INDEX,
    address,
    apart,
    broadcast,
    code,
    load,
    load_some,
    loaded,
    place_of,
    store,
    stored,
)

_SIDE = 32
"""Rows and columns of c that are computed at a time, and how much of the inner axis."""
_DEPTH = 512
"""Of the inner axis, how much is multiplied before c is written."""
_ROWS, _COLUMNS = 256, 2048
"""Of a and of b, how much is in parts at a time: of a what half of a core's cache holds."""
_WORD, _HALF, _STEP = 4, amx_tiles.TILE, amx_tiles.STEP
_PART = 2 * _HALF
_LARGEST = np.uint32(0x7F7F8000).view(np.float32)
"""From here on the first part of a number is infinite."""


def usable() -> bool:
    """Whether large products of float32 are computed so now."""
    return amx.multiplies() and blas.threads() == 1


def gains(m: int, k: int, n: int, count: int = 1) -> bool:
    """Whether that takes less time than a library's product in float32, or so many of them.

    In nanoseconds, measured on a Granite Rapids: whole blocks, parts, c; beside 130 GF/s.
    """
    blocks, parts = _up(m) * _up(k) * _up(n) / 165, (m + n) * k / 5
    return n > _SIDE and blocks + parts + m * n / 20 + 1000 + 2000 / count < m * k * n / 65


def room(m: int, k: int, n: int) -> int:
    """Return how many words a product needs for the parts of a and b."""
    depth = _up(min(k, _DEPTH))
    rows = _even(m)
    lines = rows + (_SIDE if m <= rows else _up(min(n, _COLUMNS)))
    return lines * depth // _SIDE**2 * _STEP + 3 * _SIDE * _SIDE + 16


def _up(n: int) -> int:
    return (n + _SIDE - 1) // _SIDE * _SIDE


_whole = inlined(_up)
"""The least multiple of a side that is not less."""


def _even(m: int) -> int:
    """Return how many rows of a are in parts at a time: in blocks of one height."""
    blocks = (m + _ROWS - 1) // _ROWS
    return (m + blocks * _SIDE - 1) // (blocks * _SIDE) * _SIDE


_block = inlined(_even)


@exact_kernel
def multiply_in_parts(
    a: Array, b: Array, c: Array, outer: int, inner: int, m: int, k: int, n: int,
    a_out: int, b_out: int, c_out: int, a_in: int, b_in: int, c_in: int,
    a_row: int, b_row: int, c_row: int, turn_a: bool, turn_b: bool, room: Array,
) -> None:  # fmt: skip
    """Let each c, m rows of n numbers, be its a b: of outer times inner products, so far apart.

    Rows are so far from each other; of a factor that is turned the columns are. The bits of a sum
    depend on k alone.
    """
    start = -(address(room, 0) // _WORD) % 16  # the largest number yet; then what turns a block
    for i in range(outer):
        for j in range(inner):
            at_a, at_b, at_c = i * a_out + j * a_in, i * b_out + j * b_in, i * c_out + j * c_in
            store(room, start, broadcast(np.float32(0)))
            amx_tiles.begin()
            _multiply(
                *(a, b, c, at_a, at_b, at_c, m, k, n, a_row, b_row, c_row, turn_a, turn_b),
                *(room, start),
            )
            amx_tiles.end()
            if _reaches(room, start):
                _mend(*(a, b, c, at_a, at_b, at_c, m, k, n, a_row, b_row, c_row, turn_a, turn_b))


@part
def _multiply(
    a: Array, b: Array, c: Array, at_a: int, at_b: int, at_c: int, m: int, k: int, n: int,
    a_row: int, b_row: int, c_row: int, turn_a: bool, turn_b: bool, room: Array, start: int,
) -> None:  # fmt: skip
    apart()
    in_a = start + 16 + _PART + _SIDE * _SIDE
    block = _block(m)
    for left in range(0, n, _COLUMNS):
        right = min(n, left + _COLUMNS)
        for first in range(0, k, _DEPTH):
            depth = min(k - first, _DEPTH)
            panel = _whole(depth) // _SIDE * _STEP
            in_b = in_a + block // _SIDE * panel
            for top in range(0, m, block):
                rows = min(m - top, block)
                for i in range(0, rows, _SIDE):
                    side, to = min(rows - i, _SIDE), in_a + i // _SIDE * panel
                    if turn_a:
                        at = at_a + top + i + first * a_row
                        _turned(a, at, a_row, True, side, depth, room, start, to)
                    else:
                        at = at_a + (top + i) * a_row + first
                        _lines(a, at, a_row, side, depth, room, start, to)
                for j in range(left, right, _SIDE):
                    side = min(right - j, _SIDE)
                    to = in_b if m <= block else in_b + (j - left) // _SIDE * panel
                    if top == 0 and turn_b:
                        at = at_b + j * b_row + first
                        _turned(b, at, b_row, False, side, depth, room, start, to)
                    elif top == 0:
                        at = at_b + first * b_row + j
                        _columns(b, at, b_row, side, depth, room, start, to)
                    _panel(
                        *(c, at_c + top * c_row + j, c_row, rows, side, first > 0, depth),
                        *(room, start, in_a, to),
                    )


@inlined
def _panel(
    c: Array, at: int, row: int, rows: int, columns: int, more: bool, depth: int, room: Array,
    start: int, in_a: int, in_b: int,
) -> None:  # fmt: skip
    """Compute columns of c, 32 at most, from ``at`` on; or add to them, if ``more``."""
    steps = _whole(depth) // _SIDE
    edge = start + 16 + _PART
    b = address(room, in_b)
    for i in range(0, rows, _SIDE):
        a, place, high = address(room, in_a + i * steps * _STEP // _SIDE), at + i * row, rows - i
        if high >= _SIDE and columns == _SIDE:
            amx_tiles.multiply_tiles(a, b, steps, address(c, place), row * _WORD, more)
            continue
        to, high = address(room, edge), min(high, _SIDE)
        if more:
            for r in range(high):
                for q in range(columns):
                    room[edge + r * _SIDE + q] = c[place + r * row + q]
        amx_tiles.multiply_tiles(a, b, steps, to, _SIDE * _WORD, more)
        for r in range(high):
            for q in range(columns):
                c[place + r * row + q] = room[edge + r * _SIDE + q]


@part
def _lines(
    a: Array, at: int, row: int, lines: int, depth: int, room: Array, start: int, to: int
) -> None:
    """Write the parts of a panel of lines, whose numbers lie side by side in memory."""
    apart()
    worst, nothing = load(room, start), broadcast(np.float32(0))
    word = to
    for s in range(0, depth, _SIDE):
        for r in range(_SIDE):
            place = at + r * row + s
            if r >= lines:
                x = y = nothing
            elif s + _SIDE <= depth:
                x, y = load(a, place), load(a, place + 16)
            else:
                x, y = load_some(a, place, depth - s), load_some(a, place + 16, depth - s - 16)
            worst = _split(x, y, room, word + r * 16, worst)
        word += _STEP
    store(room, start, worst)


@part
def _columns(
    a: Array, at: int, row: int, lines: int, depth: int, room: Array, start: int, to: int
) -> None:
    """Do so for lines that lie side by side."""
    apart()
    worst, nothing = load(room, start), broadcast(np.float32(0))
    for s in range(0, depth, _SIDE):
        for r in range(16):
            one, two = at + (s + r) * row, at + (s + r + 16) * row
            for half in range(2):
                x = y = nothing
                if lines == _SIDE:
                    if s + r < depth:
                        x = load(a, one + half * 16)
                    if s + r + 16 < depth:
                        y = load(a, two + half * 16)
                else:
                    if s + r < depth:
                        x = load_some(a, one + half * 16, lines - half * 16)
                    if s + r + 16 < depth:
                        y = load_some(a, two + half * 16, lines - half * 16)
                word = to + s // _SIDE * _STEP + half * _HALF + r * 16
                worst = _split(x, y, room, word, worst)
    store(room, start, worst)


@part
def _turned(
    a: Array, at: int, row: int, beside: bool, lines: int, depth: int, room: Array, start: int,
    to: int,
) -> None:  # fmt: skip
    """Do so for a factor that lies as the other one would: its lines lie ``beside`` each other."""
    apart()
    worst, scratch = load(room, start), start + 16
    for s in range(0, depth, _SIDE):
        for half in range(2):
            more = lines - half * 16
            if beside:
                place = at + s * row + half * 16
                turn(a, place, row, depth - s, more, room, scratch, _SIDE)
                turn(a, place + 16 * row, row, depth - s - 16, more, room, scratch + 16, _SIDE)
            else:
                place = at + half * 16 * row + s
                turn(a, place, row, more, depth - s, room, scratch, _SIDE)
                turn(a, place + 16, row, more, depth - s - 16, room, scratch + 16, _SIDE)
            word = to + s // _SIDE * _STEP + half * _HALF
            for r in range(16):
                x, y = load(room, scratch + r * _SIDE), load(room, scratch + r * _SIDE + 16)
                worst = _split(x, y, room, word + r * 16, worst)
    store(room, start, worst)


@part
def _mend(
    a: Array, b: Array, c: Array, at_a: int, at_b: int, at_c: int, m: int, k: int, n: int,
    a_row: int, b_row: int, c_row: int, turn_a: bool, turn_b: bool,
) -> None:  # fmt: skip
    """Compute rows and columns anew that have a NaN, an infinity, or a number as good as one."""
    apart()
    a_down, a_right = (1, a_row) if turn_a else (a_row, 1)
    b_down, b_right = (1, b_row) if turn_b else (b_row, 1)
    for i in range(m):
        row, to = at_a + i * a_down, at_c + i * c_row
        kind = _kind(a, row, a_right, k)
        if kind == 0:
            continue
        for j in range(n):
            c[to + j] = np.nan if kind == 2 else 0
        if kind == 1:
            for q in range(k):
                x = a[row + q * a_right]
                for j in range(n):
                    c[to + j] += x * b[at_b + q * b_down + j * b_right]
    for j in range(n):
        column = at_b + j * b_right
        kind = _kind(b, column, b_down, k)
        if kind == 0:
            continue
        for i in range(m):
            found = np.float32(np.nan if kind == 2 else 0)
            if kind == 1:
                for q in range(k):
                    found += a[at_a + i * a_down + q * a_right] * b[column + q * b_down]
            c[at_c + i * c_row + j] = found


@inlined
def _kind(a: Array, at: int, step: int, k: int) -> int:
    """Return 2 if there is a NaN, 1 if there is a number that a part cannot hold, else 0."""
    kind = 0
    for q in range(k):
        x = a[at + q * step]
        if x != x:
            return 2
        if abs(x) >= _LARGEST:
            kind = 1
    return kind


@code
def _split(typing: Any, x: Any, y: Any, room: Any, to: Any, worst: Any) -> Any:
    """Write words of the parts of x and y from ``to`` on; return the largest |x| yet, as bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.VectorType(INDEX, 16)
        x, y, _, to, worst = args
        worst = builder.bitcast(worst, whole)
        for one in (x, y):
            size = builder.and_(builder.bitcast(one, whole), _all(whole, 0x7FFFFFFF))
            worst = builder.select(builder.icmp_signed(">", size, worst), size, worst)
        for number in range(amx_tiles.PARTS):
            high = [builder.bitcast(one, whole) for one in (x, y)]
            if number < amx_tiles.PARTS - 1:  # of the last part nothing is left
                high = [builder.add(t, _all(whole, 0x8000)) for t in high]
            high = [builder.and_(t, _all(whole, 0xFFFF0000)) for t in high]
            words = builder.or_(builder.lshr(high[0], _all(whole, 16)), high[1])
            parts = [builder.bitcast(t, x.type) for t in high]
            x, y = builder.fsub(x, parts[0]), builder.fsub(y, parts[1])
            at = builder.add(to, ir.Constant(to.type, number * _PART))
            stored(builder, words, place_of(context, builder, signature, args, 2, at))
        return builder.bitcast(worst, args[4].type)

    return worst(x, y, room, types.intp, worst), generate


def _all(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


@code
def _reaches(typing: Any, room: Any, at: Any) -> Any:
    """Whether one of the sizes that begin at ``at`` is more than the first part can hold."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.VectorType(INDEX, 16)
        place = place_of(context, builder, signature, args, 0, args[1])
        sizes = loaded(builder, place, whole)
        some = builder.icmp_signed(">=", sizes, _all(whole, int(_LARGEST.view(np.int32))))
        bits = ir.IntType(16)
        return builder.icmp_unsigned("!=", builder.bitcast(some, bits), ir.Constant(bits, 0))

    return types.boolean(room, types.intp), generate
