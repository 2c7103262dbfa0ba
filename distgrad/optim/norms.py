"""Norms of many arrays together, summed over fixed-size blocks in double precision (design §4).

Of an array that ranks share out each sums its own blocks; what they tell each other is a number a
block, which all add up in the same order as one rank alone would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from distgrad import kernels
from distgrad.autograd.apart import apart, keeps_form, keeps_gradients
from distgrad.autograd.layout import Part
from distgrad.autograd.neighbours import Neighbours
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError

# The order of a sum, and so its bits, depends on the parameter's size alone: not on buckets, ranks,
# the BLAS or the processor.
BLOCK = 8192
_LANES = 64
SHORT = 1 << 14  # elements: what costs more to look at alone than to copy
_FEW = 8  # arrays that are looked at one by one before they are copied together
_GLANCE = 1 << 20

Given: TypeAlias = "Array | Part"
"""An array, or this rank's part of one."""
_SIMPLE = {np.dtype(np.float32), np.dtype(np.float64)}
_Number: TypeAlias = Callable[[Array], float]


@apart
@keeps_form
@keeps_gradients
def total_norm(grads: Iterable[Given], norm_type: float = 2.0) -> float:
    """Return the joint ``norm_type``-norm (any p > 0, or infinity) of all arrays together.

    0 for no arrays; NaN or infinity if an element is. Errors: ShapeError for another norm_type.
    """
    return joint_norms([list(grads)], norm_type)[0]


def joint_norms(groups: Sequence[Sequence[Given]], norm_type: float = 2.0) -> list[float]:
    """Return the joint norm of each group of arrays; collective if ranks share some of them out."""
    if not norm_type > 0:
        raise ShapeError(f"norm_type must be a number above 0 or infinity; got {norm_type}")
    if norm_type == math.inf:
        found = _of_each(groups, [_largest] * len(groups), _most)
        return [_most([0.0, *numbers]) for numbers in found]
    if norm_type == 2.0:
        return [math.sqrt(_add(numbers)) for numbers in _squares_of_each(groups)]
    largest = joint_norms(groups, math.inf)
    usual = [a if a and math.isfinite(a) else 1.0 for a in largest]
    found = _of_each(groups, [partial(_power, largest=a, p=norm_type) for a in usual], _add)
    return [
        a * math.pow(sum(numbers), 1 / norm_type) if a and math.isfinite(a) else a
        for a, numbers in zip(largest, found, strict=True)
    ]


def norm_beside(grads: Neighbours) -> float | None:
    """Return the joint 2-norm of gradients that lie side by side, to the bit of ``total_norm``.

    None where it takes looking at them one by one.
    """
    squares_ = kernels.twin("squares_")
    if squares_ is None or any(s.flat.dtype not in _SIMPLE for s in grads.stretches):
        return None
    found = [0.0] * len(grads.gradients)
    for stretch in grads.stretches:
        squares_(stretch.flat, stretch.bounds, BLOCK, out := np.empty(len(stretch.numbers)))
        for number, square_ in zip(stretch.numbers, out.tolist(), strict=True):
            found[number] = square_
    return math.sqrt(_add(found))


def squares(g: Array) -> float:
    """Return the sum of the squares; not finite if an element is not or the sum overflows."""
    if 0 < g.size <= BLOCK and g.dtype in _SIMPLE:
        return square(np.ascontiguousarray(g).reshape(-1))
    return _squares_of([g])[0]


def norm(g: Array) -> float:
    """Return the 2-norm of one array, as ``total_norm`` of it alone."""
    return math.sqrt(squares(g))


def rough_squares(g: Array) -> float:
    """Return about ``squares(g)``, finite where that is, in a third of its time.

    Its last digits depend on the BLAS and its threads: good for a verdict, not for a norm.
    """
    flat = real_view(np.ascontiguousarray(g).reshape(-1))
    total = 0.0
    for start in range(0, flat.size, _GLANCE):
        block = flat[start : start + _GLANCE]
        part = float(np.vdot(block, block))  # as np.dot, but says nothing of an overflow
        total += part if math.isfinite(part) else squares(block)
    return total


def inner(a: Array, b: Array) -> float:
    """Return the inner product of two flat arrays."""
    pairs = ((a[i : i + BLOCK], b[i : i + BLOCK]) for i in range(0, a.size, BLOCK))
    return float(sum(float(np.dot(x, y)) for x, y in pairs))


def _squares_of_each(groups: Sequence[Sequence[Given]]) -> list[list[float]]:
    """Return for each array of each group the sum of its squares."""
    everyones = iter(_of_parts([(g, square) for gs in groups for g in gs if isinstance(g, Part)]))
    own = iter(_squares_of([g for group in groups for g in group if not isinstance(g, Part)]))
    return [
        [_add(next(everyones)) if isinstance(g, Part) else next(own) for g in group]
        for group in groups
    ]


def _squares_of(arrays: Sequence[Array]) -> list[float]:
    """Return the sum of the squares of each array: its blocks' one after another."""
    squares_ = kernels.twin("squares_")
    if squares_ is None:
        return [_add(map(square, _blocks(g))) for g in arrays]
    if len(arrays) <= _FEW and all(g.size <= BLOCK and g.dtype in _SIMPLE for g in arrays):
        return [square(np.ascontiguousarray(g).reshape(-1)) for g in arrays]
    found = [0.0] * len(arrays)
    short: dict[np.dtype[Any], list[int]] = {}
    for i, g in enumerate(arrays):
        if g.dtype not in _SIMPLE:
            found[i] = _add(map(square, _blocks(g)))
        elif g.size > SHORT:
            flat = np.ascontiguousarray(g).reshape(-1)
            squares_(flat, np.array([0, g.size]), BLOCK, out := np.empty(1))
            found[i] = float(out[0])
        else:
            short.setdefault(g.dtype, []).append(i)
    for members in short.values():
        flat = np.concatenate([arrays[i] for i in members], axis=None)
        bounds = np.cumsum([0, *(arrays[i].size for i in members)])
        squares_(flat, bounds, BLOCK, out := np.empty(len(members)))
        for i, number in zip(members, out.tolist(), strict=True):
            found[i] = number
    return found


def _of_each(
    groups: Sequence[Sequence[Given]],
    functions: Sequence[_Number],
    fold: Callable[[Iterable[float]], float],
) -> list[list[float]]:
    """Return for each array of each group what ``fold`` makes of its blocks' numbers."""
    pairs = [(g, f) for group, f in zip(groups, functions, strict=True) for g in group]
    everyones = iter(_of_parts([(g, f) for g, f in pairs if isinstance(g, Part)]))
    return [
        [fold(next(everyones) if isinstance(g, Part) else map(function, _blocks(g))) for g in group]
        for group, function in zip(groups, functions, strict=True)
    ]


def _of_parts(parts: Sequence[tuple[Part, _Number]]) -> list[list[float]]:
    """Return the numbers of all blocks of the arrays of which this rank has parts; collective."""
    known = [p.sharding.squares_of(p.slot) if f is square else None for p, f in parts]
    if None not in known:  # told with the verdict on the batch
        return [numbers for numbers in known if numbers is not None]
    found: list[Array] = []
    members: dict[int, list[int]] = {}  # by who shares them: those of one model, as a rule
    for i, (part, function) in enumerate(parts):
        # Of the other ranks' blocks a zero; ranks cut arrays at the borders of blocks.
        numbers = np.zeros(-(-part.size // BLOCK))
        for number, block in enumerate(_blocks(part.array), part.first // BLOCK):
            numbers[number] = function(block)
        found.append(numbers)
        members.setdefault(id(part.sharding.ranks), []).append(i)
    for own in members.values():
        everyones = np.concatenate([found[i] for i in own])
        parts[own[0]][0].sharding.ranks.add_up_(everyones)
        ends = np.cumsum([found[i].size for i in own])
        for i, end in zip(own, ends, strict=True):
            found[i] = everyones[end - found[i].size : end]
    return [numbers.tolist() for numbers in found]


def _blocks(g: Array) -> Iterable[Array]:
    flat = np.ascontiguousarray(g).reshape(-1)
    return (flat[start : start + BLOCK] for start in range(0, flat.size, BLOCK))


def _add(numbers: Iterable[float]) -> float:
    total = 0.0
    for number in numbers:  # sum() would round otherwise
        total += number
    return total


def real_view(contiguous: Array) -> Array:
    """Return complex numbers as twice as many real ones along the last axis, others as they are."""
    kind = contiguous.dtype
    return contiguous.view(contiguous.real.dtype) if kind.kind == "c" else contiguous


def square(block: Array) -> float:
    """Return the sum of the squares of a contiguous block, in double precision.

    It is summed in 64 lanes, which are then folded; the twin has the same bits.
    """
    block = real_view(block)
    twin = kernels.twin("square") if block.dtype in _SIMPLE else None
    if twin is not None:
        number: float = twin(block)
        return number
    rows, rest = divmod(block.size, _LANES)
    with np.errstate(over="ignore", invalid="ignore"):  # the sum itself tells
        wide = np.square(block, dtype=np.float64)
        lanes = np.add.reduce(wide[: rows * _LANES].reshape(rows, _LANES), axis=0)
        lanes[:rest] += wide[rows * _LANES :]
        return _add(np.add.reduce(lanes.reshape(8, 8), axis=0).tolist())


def _most(numbers: Iterable[float]) -> float:
    # np.max keeps a NaN wherever it stands; Python's max does not.
    return float(np.max([0.0, *numbers]))


def _largest(block: Array) -> float:
    return float(np.max(np.abs(block)))


def _power(block: Array, largest: float, p: float) -> float:
    """Return the sum of (|g| / largest)^p, which neither overflows nor vanishes."""
    wide = np.complex128 if block.dtype.kind == "c" else np.float64
    scaled = np.abs(block.astype(wide)) / largest
    return float(np.add.reduce(scaled if p == 1 else np.power(scaled, p)))
