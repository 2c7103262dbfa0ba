"""Philox's rounds, and how normal numbers begin, on eight numbers of 64 bits. Imports numba.

Whole numbers are exact, and products and sums rounded one by one: the bits are those of one number
after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from distgrad.kernels.intrinsics import code, place_of
from distgrad.kernels.vectors import INDEX, WORD, lanes, spread

COUNTERS = 16
"""Of two vectors one is waited for while the other is computed."""
NUMBERS = 8
FIRST, SECOND = 0xD2E7470EE14C6C93, 0xCA5A826395121157
GOLDEN, ROOT3 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
ROUNDS = 10
_EIGHT = ir.VectorType(WORD, NUMBERS)
_REALS = ir.VectorType(ir.DoubleType(), NUMBERS)
_TWO_TO_52 = 0x4330000000000000  # as the bits of a number: whole numbers below are its last bits


def _all(value: int) -> Any:
    return ir.Constant(_EIGHT, [value] * NUMBERS)


_LOW, _HALF = _all((1 << 32) - 1), _all(32)


@code
def counters(typing: Any, place: Any, count: Any, raw: Any, at: Any) -> Any:
    """Write the numbers of the ``COUNTERS`` counters from ``count`` on, four of each, from ``at``.

    ``place`` is the counters' upper three, and the key.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = place_of(context, builder, signature, args, 0, ir.Constant(WORD, 0))
        b, c, d, key, other = (
            spread(builder, builder.load(builder.gep(start, [ir.Constant(WORD, i)])), _EIGHT)
            for i in range(5)
        )
        first = spread(builder, args[1], _EIGHT)
        sets = [
            [builder.add(first, ir.Constant(_EIGHT, list(range(k, k + NUMBERS)))), b, c, d]
            for k in range(0, COUNTERS, NUMBERS)
        ]
        for i in range(ROUNDS):
            keys = [
                builder.add(key, _all(i * GOLDEN % 2**64)),
                builder.add(other, _all(i * ROOT3 % 2**64)),
            ]
            sets = [_round(builder, numbers, keys) for numbers in sets]
        out = place_of(context, builder, signature, args, 2, args[3])
        for k, numbers in enumerate(sets):
            for i, vector in enumerate(_in_turns(builder, *numbers)):
                at = builder.gep(out, [ir.Constant(WORD, NUMBERS * (4 * k + i))])
                builder.store(vector, builder.bitcast(at, _EIGHT.as_pointer())).align = 8
        return context.get_dummy_value()

    return types.void(place, count, raw, types.intp), generate


def _round(builder: Any, numbers: Sequence[Any], keys: Sequence[Any]) -> list[Any]:
    a, b, c, d = numbers
    (p, q), (r, s) = _product(builder, a, FIRST), _product(builder, c, SECOND)
    one, other = builder.xor(b, keys[0]), builder.xor(d, keys[1])
    return [builder.xor(r, one), s, builder.xor(p, other), q]


def _product(builder: Any, x: Any, factor: int) -> tuple[Any, Any]:
    """Emit the upper and the lower 64 bits of products, by products of 32 bits."""
    low, high = _all(factor & 0xFFFFFFFF), _all(factor >> 32)
    lower, upper = builder.and_(x, _LOW), builder.lshr(x, _HALF)
    least = builder.mul(lower, low)
    one = builder.add(builder.mul(upper, low), builder.lshr(least, _HALF))
    two = builder.add(builder.mul(lower, high), builder.and_(one, _LOW))
    most = builder.add(builder.mul(upper, high), builder.lshr(one, _HALF))
    most = builder.add(most, builder.lshr(two, _HALF))
    return most, builder.or_(builder.shl(two, _HALF), builder.and_(least, _LOW))


def _in_turns(builder: Any, a: Any, b: Any, c: Any, d: Any) -> list[Any]:
    """Emit four vectors that have a number of each by turns."""
    order = [lanes([i + j for i in range(k, k + 4) for j in (0, NUMBERS)]) for k in (0, 4)]
    pairs = [(builder.shuffle_vector(a, b, o), builder.shuffle_vector(c, d, o)) for o in order]
    ends = lanes([0, 1, 8, 9, 2, 3, 10, 11]), lanes([4, 5, 12, 13, 6, 7, 14, 15])
    return [builder.shuffle_vector(ab, cd, o) for ab, cd in pairs for o in ends]


@code
def normals_begin(
    typing: Any, raw: Any, j: Any, width: Any, inside: Any, loc: Any, scale: Any, y: Any, i: Any
) -> Any:
    """Write what eight numbers from ``j`` on are as normal ones, and return how many of these are.

    The number after them has to be looked at: it may not lie below the bell.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = place_of(context, builder, signature, args, 0, args[1])
        n = builder.load(builder.bitcast(at, _EIGHT.as_pointer()))
        n.align = 8
        strip = builder.and_(n, _all(0xFF))
        far = builder.and_(builder.lshr(n, _all(9)), _all((1 << 52) - 1))
        widths = _gathered(context, builder, signature, args, 2, strip, _REALS)
        limits = _gathered(context, builder, signature, args, 3, strip, _EIGHT)
        bias = _all(_TWO_TO_52)
        x = builder.bitcast(builder.or_(far, bias), _REALS)
        x = builder.fmul(builder.fsub(x, builder.bitcast(bias, _REALS)), widths)
        sign = builder.shl(builder.lshr(builder.and_(n, _all(1 << 8)), _all(8)), _all(63))
        x = builder.bitcast(builder.xor(builder.bitcast(x, _EIGHT), sign), _REALS)
        loc, scale = (spread(builder, a, _REALS) for a in args[4:6])
        values = builder.fadd(loc, builder.fmul(scale, x))
        if signature.args[6].dtype == types.float32:
            values = builder.fptrunc(values, ir.VectorType(ir.FloatType(), NUMBERS))
        out = place_of(context, builder, signature, args, 6, args[7])
        builder.store(values, builder.bitcast(out, values.type.as_pointer())).align = 4
        beyond = builder.icmp_unsigned(">=", far, limits)
        mask = builder.zext(builder.bitcast(beyond, ir.IntType(NUMBERS)), WORD)
        mask = builder.or_(mask, ir.Constant(WORD, 1 << NUMBERS))
        return builder.cttz(mask, ir.Constant(ir.IntType(1), 1))

    reals = types.float64
    return types.intp(raw, types.intp, width, inside, reals, reals, y, types.intp), generate


def _gathered(
    context: Any, builder: Any, signature: Any, args: Any, n: int, index: Any, kind: Any
) -> Any:
    """Emit the elements of the array that is argument ``n`` at eight places."""
    start = place_of(context, builder, signature, args, n, ir.Constant(WORD, 0))
    start = builder.ptrtoint(start, WORD)
    address = builder.add(spread(builder, start, _EIGHT), builder.shl(index, _all(3)))
    places = builder.inttoptr(address, ir.VectorType(kind.element.as_pointer(), NUMBERS))
    yes = ir.Constant(ir.VectorType(ir.IntType(1), NUMBERS), [1] * NUMBERS)
    nothing = ir.Constant(kind, ir.Undefined)
    name = f"llvm.masked.gather.v8{'i' if kind is _EIGHT else 'f'}64.v8p0"
    form = ir.FunctionType(kind, [places.type, INDEX, yes.type, kind])
    function = cgutils.get_or_insert_function(builder.module, form, name)
    return builder.call(function, [places, ir.Constant(INDEX, 8), yes, nothing])
