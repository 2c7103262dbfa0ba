"""Norms of many arrays together, summed over fixed-size blocks in double precision (design §4).

Of an array that ranks share out each sums its own blocks; what they tell each other is a number a
block, which all add up in the same order as one rank alone would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from distgrad.autograd.layout import Part
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError

# Below the size at which BLAS would thread a dot product: the order of the sum, and so the bits,
# depend on the parameter's size alone, not on buckets, ranks or threads.
BLOCK = 8192
_GLANCE = 1 << 20

Given: TypeAlias = "Array | Part"
"""An array, or this rank's part of one."""
_Number: TypeAlias = Callable[[Array], float]


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
        with np.errstate(over="ignore", invalid="ignore"):  # the sum itself tells
            found = _of_each(groups, [square] * len(groups), _add)
        return [math.sqrt(sum(numbers)) for numbers in found]
    largest = joint_norms(groups, math.inf)
    usual = [a if a and math.isfinite(a) else 1.0 for a in largest]
    found = _of_each(groups, [partial(_power, largest=a, p=norm_type) for a in usual], _add)
    return [
        a * math.pow(sum(numbers), 1 / norm_type) if a and math.isfinite(a) else a
        for a, numbers in zip(largest, found, strict=True)
    ]


def squares(g: Array) -> float:
    """Return the sum of the squares; not finite if an element is not or the sum overflows."""
    with np.errstate(over="ignore", invalid="ignore"):  # the sum itself tells
        return _add(map(square, _blocks(g)))


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
    flat = np.ascontiguousarray(g).reshape(-1)  # BLAS sums strided elements in another order
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
    """Return the sum of the squares of a block."""
    if block.dtype.kind == "c":  # in two halves, neither of which BLAS would thread
        real = real_view(block)
        return square(real[: block.size]) + square(real[block.size :])
    part = float(np.dot(block, block))
    if not math.isfinite(part):  # the squares may overflow float32 where the norm does not
        wide = block.astype(np.float64)
        part = float(np.dot(wide, wide))
    return part


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
