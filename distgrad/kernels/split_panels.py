"""Panels of 32 lines of a matrix as parts in bfloat16, in the order tiles want. Imports numba.

A step is 32 numbers of each line; its six tiles are the first parts of lines 0 to 15 and 16 to 31,
then the second and the third ones. Word j has two numbers of a line, the j-th and the (16 + j)-th:
in a tile of a left factor a line's words are a row, in one of a right factor a column.

``start`` is where the largest numbers yet are kept in ``room``, as bits, and behind them what a
block needs that is turned round.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from distgrad.autograd.types import Array
from distgrad.kernels.amx_tiles import PARTS, SIDE, STEP, TILE
from distgrad.kernels.intrinsics import code, place_of
from distgrad.kernels.jit import part
from distgrad.kernels.tiles import turn
from distgrad.kernels.vectors import (
    INDEX,
    apart,
    broadcast,
    load,
    load_some,
    loaded,
    store,
    stored,
)

PART = 2 * TILE
"""Words of one part of a step."""
HEAD = 16 + PART
"""Words from ``start`` on that are no panel's."""
LARGEST = np.uint32(0x7F7F8000).view(np.float32)
"""From here on the first part of a number is infinite."""


@part
def lines_in_parts(
    a: Array, at: int, row: int, lines: int, depth: int, room: Array, start: int, to: int
) -> None:
    """Write the parts of a panel of lines, whose numbers lie side by side in memory."""
    apart()
    worst, nothing = load(room, start), broadcast(np.float32(0))
    word = to
    for s in range(0, depth, SIDE):
        for r in range(SIDE):
            place = at + r * row + s
            if r >= lines:
                x = y = nothing
            elif s + SIDE <= depth:
                x, y = load(a, place), load(a, place + 16)
            else:
                x, y = load_some(a, place, depth - s), load_some(a, place + 16, depth - s - 16)
            worst = split(x, y, room, word + r * 16, PART, worst)
        word += STEP
    store(room, start, worst)


@part
def columns_in_parts(
    a: Array, at: int, row: int, lines: int, depth: int, room: Array, start: int, to: int
) -> None:
    """Do so for lines that lie side by side."""
    apart()
    worst, nothing = load(room, start), broadcast(np.float32(0))
    for s in range(0, depth, SIDE):
        for r in range(16):
            one, two = at + (s + r) * row, at + (s + r + 16) * row
            for half in range(2):
                x = y = nothing
                if lines == SIDE:
                    if s + r < depth:
                        x = load(a, one + half * 16)
                    if s + r + 16 < depth:
                        y = load(a, two + half * 16)
                else:
                    if s + r < depth:
                        x = load_some(a, one + half * 16, lines - half * 16)
                    if s + r + 16 < depth:
                        y = load_some(a, two + half * 16, lines - half * 16)
                word = to + s // SIDE * STEP + half * TILE + r * 16
                worst = split(x, y, room, word, PART, worst)
    store(room, start, worst)


@part
def turned_in_parts(
    a: Array, at: int, row: int, beside: bool, lines: int, depth: int, room: Array, start: int,
    to: int,
) -> None:  # fmt: skip
    """Do so for a factor that lies as the other one would: its lines lie ``beside`` each other."""
    apart()
    worst, scratch = load(room, start), start + 16
    for s in range(0, depth, SIDE):
        for half in range(0, SIDE, 16):
            for k in (s, s + 16):  # the numbers of a word are so far apart
                place = at + k * row + half if beside else at + half * row + k
                high, wide = (depth - k, lines - half) if beside else (lines - half, depth - k)
                turn(a, place, row, high, wide, room, scratch + k - s, SIDE)
            word = to + s // SIDE * STEP + half * 16
            for r in range(16):
                x, y = load(room, scratch + r * SIDE), load(room, scratch + r * SIDE + 16)
                worst = split(x, y, room, word + r * 16, PART, worst)
    store(room, start, worst)


@code
def split(typing: Any, x: Any, y: Any, room: Any, to: Any, gap: Any, worst: Any) -> Any:
    """Write words of x and y from ``to`` on, those of each part ``gap`` words from the last ones.

    Return the largest |x| yet, as bits.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.VectorType(INDEX, 16)
        x, y, _, to, gap, worst = args
        worst = builder.bitcast(worst, whole)
        for one in (x, y):
            size = builder.and_(builder.bitcast(one, whole), _all(whole, 0x7FFFFFFF))
            worst = builder.select(builder.icmp_signed(">", size, worst), size, worst)
        for number in range(PARTS):
            high = [builder.bitcast(one, whole) for one in (x, y)]
            if number < PARTS - 1:  # of the last part nothing is left
                high = [builder.add(t, _all(whole, 0x8000)) for t in high]
            high = [builder.and_(t, _all(whole, 0xFFFF0000)) for t in high]
            words = builder.or_(builder.lshr(high[0], _all(whole, 16)), high[1])
            parts = [builder.bitcast(t, x.type) for t in high]
            x, y = builder.fsub(x, parts[0]), builder.fsub(y, parts[1])
            at = builder.add(to, builder.mul(gap, ir.Constant(gap.type, number)))
            stored(builder, words, place_of(context, builder, signature, args, 2, at))
        return builder.bitcast(worst, args[5].type)

    return worst(x, y, room, types.intp, types.intp, worst), generate


@code
def pair(typing: Any, room: Any, at: Any, far: Any, to: Any, gap: Any) -> Any:
    """Pair the halves of 16 words with those of the words ``far`` on.

    The low ones are written at ``to``, the high ones ``gap`` words from there.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.VectorType(INDEX, 16)

        def place(n: Any) -> Any:
            return place_of(context, builder, signature, args, 0, n)

        _, at, far, to, gap = args
        first, second = [loaded(builder, place(n), whole) for n in (at, builder.add(at, far))]
        low, high, by = _all(whole, 0xFFFF), _all(whole, 0xFFFF0000), _all(whole, 16)
        left = builder.or_(builder.and_(first, low), builder.shl(second, by))
        right = builder.or_(builder.lshr(first, by), builder.and_(second, high))
        stored(builder, left, place(to))
        stored(builder, right, place(builder.add(to, gap)))
        return context.get_dummy_value()

    n = types.intp
    return types.void(room, n, n, n, n), generate


def _all(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


@code
def reaches(typing: Any, room: Any, at: Any) -> Any:
    """Whether one of the sizes that begin at ``at`` is more than the first part can hold."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.VectorType(INDEX, 16)
        place = place_of(context, builder, signature, args, 0, args[1])
        sizes = loaded(builder, place, whole)
        some = builder.icmp_signed(">=", sizes, _all(whole, int(LARGEST.view(np.int32))))
        bits = ir.IntType(16)
        return builder.icmp_unsigned("!=", builder.bitcast(some, bits), ir.Constant(bits, 0))

    return types.boolean(room, types.intp), generate
