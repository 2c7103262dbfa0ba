"""The numbers of NumPy's ``Generator(Philox(…))``, to the bit: Philox4x64-10 and the ziggurat.

Salmon et al. 2011; Marsaglia & Tsang 2000, with Doornik's 256 strips; whole numbers: Lemire 2019.
A number of the counter makes four of 64 bits, whatever came before: nothing is kept from call to
call.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir

from distgrad.autograd.types import Array
from distgrad.kernels.arrays import flat
from distgrad.kernels.intrinsics import code
from distgrad.kernels.jit import exact_kernel, inlined, part
from distgrad.kernels.philox_vectors import (
    COUNTERS,
    FIRST,
    GOLDEN,
    NUMBERS,
    ROOT3,
    ROUNDS,
    SECOND,
    counters,
    normals_begin,
)
from distgrad.kernels.scalars import empty_of, least
from distgrad.kernels.tiles import ROWS

_U = np.uint64
_FIRST, _SECOND = _U(FIRST), _U(SECOND)
_GOLDEN, _ROOT3 = _U(GOLDEN), _U(ROOT3)
_IN_VECTORS = ROWS == 8  # with AVX-512 that takes 0.6 of the time
_BLOCK = 64  # numbers of 64 bits that are made at a time
_ULP = 2.0**-53
_STRIP, _SIGN, _MANTISSA = _U(0xFF), _U(1 << 8), _U((1 << 52) - 1)
_LOW = _U((1 << 32) - 1)
_0, _1, _9, _11, _17, _32 = _U(0), _U(1), _U(9), _U(11), _U(17), _U(32)


def random(place: Array, y: Array, most: float) -> None:
    """Fill ``y`` as ``Generator.random`` does, up to ``most``.

    ``place`` is the counter's upper three and the key.
    """
    uniforms(place, ROUNDS, y, most)


def standard_normal(place: Array, y: Array, loc: float, scale: float) -> None:
    """Fill ``y`` with loc + scale z, z as of ``Generator.standard_normal``."""
    normals(place, ROUNDS, y, float(loc), float(scale), *tables())


def integers(place: Array, y: Array, low: int, count: int) -> None:
    """Fill ``y`` as ``Generator.integers`` does with the ``count`` < 2³² numbers from ``low``."""
    bounded(place, ROUNDS, y, low, count)


def permutation(place: Array, y: Array) -> None:
    """Fill ``y`` as ``Generator.permutation`` does: Fisher and Yates's, from the end."""
    shuffle(place, ROUNDS, y)


def poisson(place: Array, y: Array, rate: Array) -> None:
    """Fill ``y`` as ``Generator.poisson`` does with rates below 10."""
    products(place, ROUNDS, y, flat(rate))


@code
def _product(typing: Any, a: Any, b: Any) -> Any:
    """The upper and the lower 64 bits of a product, which the processor has in one step."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide, half = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(x, wide) for x in args))
        upper = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), half)
        halves = (upper, builder.trunc(product, half))
        return context.make_tuple(builder, signature.return_type, halves)

    whole = numba.types.uint64
    return numba.types.UniTuple(whole, 2)(whole, whole), generate


@inlined
def _numbers(place: Array, count: Any, rounds: int, raw: Array) -> None:
    """Fill ``raw`` with the numbers of the counter from ``count`` on."""
    if _IN_VECTORS:
        for i in range(0, _BLOCK // 4, COUNTERS):
            counters(place, count + _U(i), raw, 4 * i)
        return
    # Ten rounds written out would be computed in vectors, which have no product of 128 bits.
    for i in range(_BLOCK // 4):
        a, b, c, d = count + _U(i), place[0], place[1], place[2]
        k, m = place[3], place[4]
        for _ in range(rounds):
            (p, q), (r, s) = _product(_FIRST, a), _product(_SECOND, c)
            a, b, c, d = r ^ b ^ k, s, p ^ d ^ m, q
            k, m = k + _GOLDEN, m + _ROOT3
        raw[4 * i], raw[4 * i + 1], raw[4 * i + 2], raw[4 * i + 3] = a, b, c, d


@inlined
def _unit(n: Any) -> Any:
    """53 bits as a number of [0, 1)."""
    return np.int64(n >> _11) * _ULP


@exact_kernel
def uniforms(place: Array, rounds: int, y: Array, most: float) -> None:
    """Fill ``y`` with numbers of [0, 1), at most ``most``."""
    raw = empty_of(_BLOCK, np.uint64)
    count = _1  # NumPy counts up first
    for start in range(0, y.size, _BLOCK):
        _numbers(place, count, rounds, raw)
        count += _U(_BLOCK // 4)
        for i in range(start, least(start + _BLOCK, y.size)):
            y[i] = least(_unit(raw[i - start]), most)


@exact_kernel
def products(place: Array, rounds: int, y: Array, rate: Array) -> None:
    """Count how many numbers of [0, 1) have a product above e⁻ʳᵃᵗᵉ (Knuth)."""
    raw = empty_of(_BLOCK, np.uint64)
    count, j = _1, _BLOCK
    for i in range(y.size):
        n, product, bound = 0, 1.0, math.exp(-np.float64(rate[i]))
        while rate[i] != 0:  # without a number where it is
            if j == _BLOCK:
                _numbers(place, count, rounds, raw)
                count, j = count + _U(_BLOCK // 4), 0
            product *= _unit(raw[j])
            j += 1
            if product <= bound:
                break
            n += 1
        y[i] = n


@inlined
def _half(raw: Array, j: int) -> Any:
    """The number ``j`` of 32 bits: the lower ones of 64 come first."""
    return (raw[j >> 1] >> _U(32 * (j & 1))) & _LOW


@exact_kernel
def bounded(place: Array, rounds: int, y: Array, low: int, count: int) -> None:
    """Fill ``y`` with whole numbers from ``low`` on."""
    raw = empty_of(_BLOCK, np.uint64)
    start, i, j = _1, 0, 2 * _BLOCK
    n = _U(count)
    least = (_LOW - n + _1) % n  # of numbers below it there would be one too many
    while i < y.size:
        if j == 2 * _BLOCK:
            _numbers(place, start, rounds, raw)
            start, j = start + _U(_BLOCK // 4), 0
        while j < 2 * _BLOCK and i < y.size:
            product = _half(raw, j) * n
            y[i] = low + np.int64(product >> _32)
            i += (product & _LOW) >= least
            j += 1


@exact_kernel
def shuffle(place: Array, rounds: int, y: Array) -> None:
    """Exchange each of 0, 1, …, from the last one on, with one of those up to it."""
    raw = empty_of(_BLOCK, np.uint64)
    order = empty_of(y.size, np.uint32)  # half the memory to go about in
    for n in range(order.size):
        order[n] = n
    start, i, j = _1, order.size - 1, 2 * _BLOCK
    mask = 1
    while mask < i:
        mask += mask + 1
    while i > 0:
        if j == 2 * _BLOCK:
            _numbers(place, start, rounds, raw)
            start, j = start + _U(_BLOCK // 4), 0
        while j < 2 * _BLOCK and i > 0:
            k: Any = np.int64(_half(raw, j)) & mask
            j += 1
            # Of one that is too large nothing comes: a branch would be foreseen half of the time.
            fits = k <= i
            k = k if fits else i
            order[i], order[k] = order[k], order[i]
            i -= fits
            mask = mask >> 1 if i == mask >> 1 else mask
    for n in range(order.size):
        y[n] = order[n]


@part
def _eights(
    raw: Array, j: int, width: Array, inside: Array, loc: float, scale: float, y: Array, i: int
) -> tuple[int, int]:
    """Fill ``y`` from ``i`` on up to a number that has to be looked at; return where both are."""
    while j <= _BLOCK - NUMBERS and i <= y.size - NUMBERS:
        ready = normals_begin(raw, j, width, inside, loc, scale, y, i)
        if ready < NUMBERS:
            return i + ready, j + ready
        i, j = i + NUMBERS, j + NUMBERS  # foreseen: the next eight do not wait for it
    return i, j


@exact_kernel
def normals(
    place: Array,
    rounds: int,
    y: Array,
    loc: float,
    scale: float,
    width: Array,
    inside: Array,
    height: Array,
) -> None:
    """Fill ``y`` with loc + scale z.

    A number has the strip, the sign, and how far from the middle it is.
    """
    raw, u = empty_of(_BLOCK, np.uint64), empty_of(2, np.float64)
    r = width[255] * 2.0**52
    count, i, j = _1, 0, _BLOCK
    tries = 0  # numbers of [0, 1) that the number to come waits for
    n, strip, x = _0, _0, 0.0
    while i < y.size:
        if j == _BLOCK:
            _numbers(place, count, rounds, raw)
            count, j = count + _U(_BLOCK // 4), 0
        if not tries:
            i, j = _eights(raw, j, width, inside, loc, scale, y, i)
            while j < _BLOCK and i < y.size and not tries:
                n = raw[j]
                strip, far = n & _STRIP, (n >> _9) & _MANTISSA
                x = np.int64(far) * width[strip]
                x = -x if n & _SIGN else x
                y[i] = loc + scale * x
                if far >= inside[strip]:  # one in 90
                    tries = 1 if strip else 2
                else:
                    i += 1
                j += 1
            continue
        tries -= 1
        u[tries] = _unit(raw[j])
        j += 1
        if tries:
            continue
        if strip == _0:
            beyond, depth = -(1 / r) * math.log1p(-u[1]), -math.log1p(-u[0])
            if depth + depth > beyond * beyond:
                x = -(r + beyond) if (n >> _17) & _1 else r + beyond
                y[i] = loc + scale * x
                i += 1
            else:
                tries = 2
        else:
            low = height[strip]
            if (height[strip - _1] - low) * u[0] + low < math.exp(-0.5 * x * x):
                i += 1


@cache
def tables() -> tuple[Array, Array, Array]:
    """Return the strips of the bell as NumPy has them: asked of it, number by number.

    How wide a strip is in units of 2⁻⁵², how much of it lies below the bell whatever the height,
    and the bell's height at its end.
    """
    ask = _Asked()
    width = np.array([ask.about(i, 1 << 50)[0] / 2.0**50 for i in range(256)])
    ends = width * 2.0**52
    inside = np.zeros(256, np.uint64)
    for i in range(256):
        # x of the strip above over that of this one, but for rounding.
        guess = int(ends[i - 1] / ends[i] * 2.0**52) if i != 1 else 0
        low, high = max(guess - 512, 0), guess + 512
        while low < high:
            middle = (low + high) // 2
            if ask.about(i, middle)[1]:
                low = middle + 1
            else:
                high = middle
        inside[i] = low
    height = np.exp(-0.5 * ends * ends)
    height[0] = 1.0
    return width, inside, height


class _Asked:
    """A generator whose next number of 64 bits is said."""

    def __init__(self) -> None:
        bits = np.random.Philox(counter=0, key=0)
        self._generator, self._bits, self._state = np.random.Generator(bits), bits, bits.state

    def about(self, strip: int, far: int) -> tuple[float, bool]:
        """Return what is drawn, and whether one number of 64 bits was enough."""
        # What comes next ends the drawing in any strip.
        self._state["buffer"][:] = np.array([0, far << 9 | strip, 0, (1 << 64) - 1], np.uint64)
        self._state["buffer_pos"] = 1
        self._bits.state = self._state
        return self._generator.standard_normal(), self._bits.state["buffer_pos"] == 2
