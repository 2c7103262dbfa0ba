"""The kernels of attention: tiles of scores in the cache, made once for values, once for gradients.

``numbers`` are: the heads, queries, keys, width of queries and keys, width of values, whether it is
causal, whether a mask is added, how many arrays there are; for each array the elements from row to
row; for each head the first element in each array.
"""

from __future__ import annotations

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.arrays import Scalar
from distgrad.kernels.jit import inlined, kernel, part
from distgrad.kernels.scalars import empty_of
from distgrad.kernels.tiles import ROWS, VECTORS, tile, turn, wide_tile
from distgrad.kernels.vectors import (
    BYTES,
    add,
    address,
    apart,
    before,
    broadcast,
    exp,
    fma,
    larger,
    largest,
    load,
    load_some,
    multiply,
    store,
    store_some,
    subtract,
    total,
)

_BLOCK = 64
"""Queries whose scores are there at a time."""
_DEPTH = 256
"""Keys that a product goes along at a time."""
_SIZES = 8
"""How many numbers stand before the steps."""
VALUES, GRADIENTS, OF_MASK = 5, 8, 9
"""How many arrays ``numbers`` know of: (q, k, v, mask, y) where values are asked for, (q, k, v,
mask, g, dq, dk, dv) and the mask's gradient where gradients are."""


@kernel
def additive(mask: Array, out: Array) -> None:
    """Booleans become what is added to scores: 0 where a key takes part."""
    none = out.dtype.type(-np.inf)
    for i in range(out.size):
        out[i] = 0 if mask[i] else none


@kernel
def attend(  # noqa: PLR0915 (one kernel is compiled sooner than two)
    q: Array,
    k: Array,
    v: Array,
    added: Array,
    g: Array,
    numbers: Array,
    sums: Array,
    out: Array,
    factor: Scalar,
) -> None:
    """Write to ``out`` the values y, or the gradients to q, k, v and maybe the mask.

    With values ``sums`` is written, too: of each query its largest score, and one over the sum of
    what becomes its weights. With gradients it is read. One kernel is compiled sooner than two.
    """
    heads, t, s, d, e = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    causal, masked, forms = numbers[5] > 0, numbers[6] > 0, numbers[7]
    back = forms >= GRADIENTS
    w, one = BYTES // q.itemsize, q.dtype.type(1)
    wide_d, wide_e, width = _apart(d, w), _apart(e, w), _apart(s, w)
    panels = w  # not 0: the parts would be compiled for that number, and again for others
    wide = VECTORS * w
    in_panels = -(-s // wide) * wide
    values = panels + (in_panels + w) * d + w * wide  # more is written than there is
    along = values + (in_panels * e + w * wide if back else s * wide_e)
    queries = along + (s * wide_d if back else 0)
    scores = queries + _BLOCK * wide_d
    mixed = scores + _BLOCK * width
    come = mixed + _BLOCK * (wide_d if back else wide_e)
    slopes = come + (_BLOCK * wide_e if back else 0)
    dk = slopes + (_BLOCK * width if back else 0)
    dv = dk + ((s + ROWS) * wide_d if back else 0)
    end = dv + ((s + ROWS) * wide_e if back else 0)
    room = empty_of(end, q.dtype)
    at = _SIZES + forms
    for m in range(heads):
        _turned(k, numbers[at + 1], numbers[_SIZES + 1], s, d, w, room, panels)
        v_at, v_step = numbers[at + 2], numbers[_SIZES + 2]
        if back:
            _turned(v, v_at, v_step, s, e, w, room, values)
            step = numbers[_SIZES + 1]
            _rows(k, numbers[at + 1], step, s, d, one, w, room, along, wide_d)
            for i in range(dk, end):
                room[i] = 0
        else:
            _rows(v, v_at, v_step, s, e, one, w, room, values, wide_e)
        for begin in range(0, t, _BLOCK):
            rows = t - begin if t - begin < _BLOCK else _BLOCK
            first = 2 * (m * t + begin)
            step = numbers[_SIZES]
            from_ = numbers[at] + begin * step
            _rows(q, from_, step, rows, d, factor, w, room, queries, wide_d)
            _scores(room, queries, wide_d, rows, panels, d, s, begin, causal, w, scores, width)
            if masked:
                step = numbers[_SIZES + 3]
                from_ = numbers[at + 3] + begin * step
                _shift(added, from_, step, rows, s, w, room, scores, width)
            step = numbers[_SIZES + 4]  # of y, or g
            place = numbers[at + 4] + begin * step
            if not back:
                _weigh(room, scores, width, rows, s, begin, causal, w, sums, first)
                _mixed(room, scores, width, rows, values, s, wide_e, e, begin, causal, w, mixed)
                _rows(room, mixed, wide_e, rows, e, one, w, out, place, step)
                continue
            _rows(g, place, step, rows, e, one, w, room, come, wide_e)
            _scores(room, come, wide_e, rows, values, e, s, begin, causal, w, slopes, width)
            of_mask = forms == OF_MASK
            _weigh_back(
                *(room, scores, slopes, width, rows, s, begin, causal, of_mask, w, sums, first)
            )
            if of_mask:
                step = numbers[_SIZES + 8]
                place = numbers[at + 8] + begin * step
                _rows(room, slopes, width, rows, s, one, w, out, place, step)
            _mixed(room, slopes, width, rows, along, s, wide_d, d, begin, causal, w, mixed)
            step = numbers[_SIZES + 5]
            place = numbers[at + 5] + begin * step
            _rows(room, mixed, wide_d, rows, d, factor, w, out, place, step)
            _gathered(room, scores, width, rows, come, wide_e, e, s, begin, causal, w, dv)
            _gathered(room, slopes, width, rows, queries, wide_d, d, s, begin, causal, w, dk)
        if back:
            _rows(room, dk, wide_d, s, d, one, w, out, numbers[at + 6], numbers[_SIZES + 6])
            _rows(room, dv, wide_e, s, e, one, w, out, numbers[at + 7], numbers[_SIZES + 7])
        at += forms


# Scratch memory is one array, ``room``, of which other arguments say what begins where.


@inlined
def _apart(n: int, w: int) -> int:
    """How far apart rows of n numbers are: an odd number of vectors, that caches can hold many."""
    return (-(-n // w) | 1) * w


@inlined
def _seen(i: int, keys: int, causal: bool) -> int:
    """How many keys query i sees."""
    return i + 1 if causal and i < keys else keys


@part
def _rows(
    a: Array,
    at: int,
    step: int,
    rows: int,
    n: int,
    factor: Scalar,
    w: int,
    out: Array,
    to: int,
    wide: int,
) -> None:
    """Write ``rows`` rows of ``n`` numbers each, times ``factor``, elsewhere."""
    apart()
    factors, whole = broadcast(factor), n - n % w
    for i in range(rows):
        for c in range(0, whole, w):
            x = multiply(load(a, at + i * step + c), factors)
            store(out, to + i * wide + c, x)
        if whole < n:
            x = multiply(load_some(a, at + i * step + whole, n - whole), factors)
            store_some(out, to + i * wide + whole, n - whole, x)


@part
def _turned(
    a: Array, at: int, step: int, rows: int, columns: int, w: int, room: Array, to: int
) -> None:
    """Write panels of rows: column by column, the numbers of a panel's rows side by side."""
    apart()
    wide = VECTORS * w
    for j in range(0, -(-rows // wide) * wide, w):
        for c in range(0, columns, w):
            first = at + j * step + c
            here = to + j // wide * wide * columns + c * wide + j % wide
            turn(a, first, step, rows - j, columns - c, room, here, wide)


@part
def _scores(
    room: Array,
    a: int,
    step: int,
    rows: int,
    panels: int,
    depth: int,
    keys: int,
    begin: int,
    causal: bool,
    w: int,
    out: int,
    width: int,
) -> None:
    """Rows at ``a`` times those in panels, as far as any of a tile is seen."""
    apart()
    wide = VECTORS * w
    for j in range(0, _seen(begin + rows - 1, keys, causal), wide):
        b = address(room, panels + j * depth)
        for i in range(0, rows, ROWS):
            seen = _seen(begin + i + ROWS - 1, keys, causal) - j
            from_, to = address(room, a + i * step), address(room, out + i * width + j)
            if seen > wide - w:
                wide_tile(room, from_, step, 1, b, wide, to, width, depth, False)
            elif seen > 0:
                tile(room, from_, step, 1, b, wide, to, width, depth, False)


@part
def _mixed(
    room: Array,
    weights: int,
    width: int,
    rows: int,
    b: int,
    keys: int,
    wide: int,
    n: int,
    begin: int,
    causal: bool,
    w: int,
    out: int,
) -> None:
    """Rows of weights times the keys' rows at ``b``, of ``n`` numbers."""
    apart()
    for first in range(0, _seen(begin + rows - 1, keys, causal), _DEPTH):
        for c in range(0, n, VECTORS * w):
            from_ = address(room, b + first * wide + c)
            for i in range(0, rows, ROWS):
                depth = _seen(begin + i + ROWS - 1, keys, causal) - first
                depth = depth if depth < _DEPTH else _DEPTH
                if depth > 0:
                    by = address(room, weights + i * width + first)
                    to, more = address(room, out + i * wide + c), first > 0
                    if n - c > (VECTORS - 1) * w:
                        wide_tile(room, by, width, 1, from_, wide, to, wide, depth, more)
                    else:
                        tile(room, by, width, 1, from_, wide, to, wide, depth, more)


@part
def _gathered(
    room: Array,
    weights: int,
    width: int,
    rows: int,
    b: int,
    wide: int,
    n: int,
    keys: int,
    begin: int,
    causal: bool,
    w: int,
    out: int,
) -> None:
    """Add to each key's row at ``out`` the rows at ``b`` by the weights that it has in them."""
    apart()
    for j in range(0, _seen(begin + rows - 1, keys, causal), ROWS):
        first = j - begin if causal and j > begin else 0
        if first < rows:
            by, depth = address(room, weights + first * width + j), rows - first
            for c in range(0, n, VECTORS * w):
                from_ = address(room, b + first * wide + c)
                to = address(room, out + j * wide + c)
                if n - c > (VECTORS - 1) * w:
                    wide_tile(room, by, 1, width, from_, wide, to, wide, depth, True)
                else:
                    tile(room, by, 1, width, from_, wide, to, wide, depth, True)


@part
def _shift(
    added: Array,
    at: int,
    step: int,
    rows: int,
    keys: int,
    w: int,
    room: Array,
    scores: int,
    width: int,
) -> None:
    apart()
    for i in range(rows):
        for j in range(0, keys, w):
            more = load_some(added, at + i * step + j, keys - j)
            place = scores + i * width + j
            store(room, place, add(load(room, place), more))


@part
def _weigh(
    room: Array,
    scores: int,
    width: int,
    rows: int,
    keys: int,
    begin: int,
    causal: bool,
    w: int,
    sums: Array,
    first: int,
) -> None:
    """Scores become weights; of each query its largest score and one over the sum are kept."""
    apart()
    zero, one, none = room.dtype.type(0), room.dtype.type(1), room.dtype.type(-np.inf)
    for i in range(rows):
        at, seen = scores + i * width, _seen(begin + i, keys, causal)
        high = broadcast(none)
        for j in range(0, seen, w):
            high = larger(before(load(room, at + j), seen - j, none), high)
        top = largest(high)
        if top == none:  # it sees no key
            top = zero
        tops, sum_ = broadcast(top), broadcast(zero)
        for j in range(0, seen, w):
            x = exp(before(subtract(load(room, at + j), tops), seen - j, none))
            store(room, at + j, x)
            sum_ = add(sum_, x)
        whole = total(sum_)
        share = one / whole if whole != zero else zero
        shares, nothing = broadcast(share), broadcast(zero)
        for j in range(0, _seen(begin + i // ROWS * ROWS + ROWS - 1, keys, causal), w):
            store(room, at + j, multiply(load(room, at + j), shares) if j < seen else nothing)
        sums[first + 2 * i] = top
        sums[first + 2 * i + 1] = share


@part
def _weigh_back(
    room: Array,
    scores: int,
    slopes: int,
    width: int,
    rows: int,
    keys: int,
    begin: int,
    causal: bool,
    whole: bool,
    w: int,
    sums: Array,
    first: int,
) -> None:
    """Scores become weights, and gradients to these, at ``slopes``, gradients to scores.

    ``whole`` rows are written for who reads what no query sees, too.
    """
    apart()
    zero, none = room.dtype.type(0), room.dtype.type(-np.inf)
    for i in range(rows):
        seen = _seen(begin + i, keys, causal)
        written = keys if whole else _seen(begin + i // ROWS * ROWS + ROWS - 1, keys, causal)
        at, to = scores + i * width, slopes + i * width
        tops, shares = broadcast(sums[first + 2 * i]), broadcast(sums[first + 2 * i + 1])
        sum_ = broadcast(zero)
        for j in range(0, written, w):
            x = exp(before(subtract(load(room, at + j), tops), seen - j, none))
            x = multiply(x, shares)
            store(room, at + j, x)
            slope = before(load(room, to + j), seen - j, zero)
            store(room, to + j, slope)
            sum_ = fma(x, slope, sum_)
        mean = broadcast(total(sum_))
        for j in range(0, written, w):
            x = multiply(load(room, at + j), subtract(load(room, to + j), mean))
            store(room, to + j, before(x, seen - j, zero))
