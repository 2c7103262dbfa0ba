"""einsum lowered to matrix products: ``np.einsum`` itself is many times slower than matmul.

A call is planned from its subscripts and shapes (and the plan kept), then carried out in
``np.*`` functions, so that arrays give an array and Tensors are recorded op by op.
"""

from __future__ import annotations

import functools
import itertools
import math
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distgrad.autograd.op import dispatch
from distgrad.autograd.tensor import TensorLike
from distgrad.errors import ShapeError
from distgrad.ops.linalg import arrays

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Single:
    """What is done to one operand alone."""

    squeezed: Shape  # axes of length 1 that are broadcast against longer ones
    diagonals: tuple[tuple[int, int], ...]  # pairs of axes with the same letter
    summed: Shape  # axes whose letter is nowhere else


@dataclass(frozen=True)
class Pair:
    """A contraction of two operands: both are transposed and reshaped, then multiplied."""

    places: tuple[int, int]
    orders: tuple[Shape, Shape]
    shapes: tuple[Shape, Shape]
    contracts: bool  # a matrix product; otherwise elementwise
    result: Shape


@dataclass(frozen=True)
class Plan:
    """All steps of one einsum."""

    singles: tuple[Single, ...]
    pairs: tuple[Pair, ...]
    order: Shape  # of the last result's axes


def einsum(subscripts: str, *operands: TensorLike) -> Any:
    """``np.einsum`` of arrays (an array) or Tensors (a Tensor), by matrix products.

    Three and more operands are contracted in pairs, those first whose product is the smallest
    beside them. Errors: ShapeError naming the letter and both lengths.
    """
    if not isinstance(subscripts, str):
        raise ShapeError(
            f"einsum takes its subscripts as one string ('ij,jk->ik'); got {subscripts!r}"
        )
    held = arrays(*operands)
    steps = plan(subscripts, tuple([x.shape for x in held]))
    for i, single in enumerate(steps.singles):
        x = held[i]
        if single.squeezed:
            x = np.squeeze(x, single.squeezed)
        for axis1, axis2 in single.diagonals:
            x = np.diagonal(x, 0, axis1, axis2)
        held[i] = np.sum(x, axis=single.summed) if single.summed else x
    for pair in steps.pairs:
        y, x = held.pop(pair.places[1]), held.pop(pair.places[0])
        x, y = (
            np.reshape(np.transpose(z, order), shape)
            for z, order, shape in zip((x, y), pair.orders, pair.shapes, strict=True)
        )
        product = np.matmul(x, y) if pair.contracts else np.multiply(x, y)
        held.append(np.reshape(product, pair.result))
    return np.transpose(held[0], steps.order)


@dispatch(np.einsum)
def _einsum(subscripts: str, *operands: TensorLike, optimize: object = True) -> Any:
    # ``optimize`` chooses an order of the work and no value: ours is always chosen.
    return einsum(subscripts, *operands)


@functools.lru_cache(maxsize=1024)
def plan(subscripts: str, shapes: tuple[Shape, ...]) -> Plan:
    """Return the steps of an einsum. Errors: ShapeError."""
    inputs, output = parse(subscripts, [len(s) for s in shapes])
    lengths = _lengths(subscripts, inputs, shapes)
    squeezed = [_squeezed(x, shape, lengths) for x, shape in zip(inputs, shapes, strict=True)]
    inputs = [
        "".join(c for i, c in enumerate(x) if i not in axes)
        for x, axes in zip(inputs, squeezed, strict=True)
    ]
    singles, terms = [], []
    for i, (letters, axes) in enumerate(zip(inputs, squeezed, strict=True)):
        others = {c for j, names in enumerate(inputs) if j != i for c in names}
        single, left = _single(letters, axes, others | set(output))
        singles.append(single)
        terms.append(left)
    pairs = []
    while len(terms) > 1:
        i, j = _cheapest(terms, output, lengths)
        y, x = terms.pop(j), terms.pop(i)
        kept = {c for names in [*terms, output] for c in names}
        step, result = _pair((i, j), x, y, kept, lengths)
        pairs.append(step)
        terms.append(result)
    order = tuple(terms[0].index(c) for c in output)
    return Plan(tuple(singles), tuple(pairs), order)


def parse(subscripts: str, axes: Sequence[int]) -> tuple[list[str], str]:
    """Return the letters of each operand and of the result, an ellipsis as letters of its own.

    Errors: ShapeError.
    """
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(axes):
        raise ShapeError(f"einsum '{subscripts}' names {len(inputs)} operands; got {len(axes)}")
    spare = [c for c in reversed(string.ascii_letters) if c not in text]
    names = [x.replace("...", "") for x in inputs]
    hidden = [n - len(x) for n, x in zip(axes, names, strict=True)]
    for i, (given, x, extra) in enumerate(zip(inputs, names, hidden, strict=True)):
        if not all(c in string.ascii_letters for c in x) or given.count("...") > 1:
            raise ShapeError(f"einsum '{subscripts}': '{given}' is not letters and one ellipsis")
        if extra < 0 or (extra > 0 and "..." not in given):
            raise ShapeError(
                f"einsum '{subscripts}': operand {i} has {axes[i]} axes, '{given}' names {len(x)}"
            )
    most = max((n for n, x in zip(hidden, inputs, strict=True) if "..." in x), default=0)
    dots = "".join(spare[:most])
    expanded = [x.replace("...", dots[most - n :]) for x, n in zip(inputs, hidden, strict=True)]
    if arrow:
        return expanded, _explicit(subscripts, output, dots, expanded)
    once = sorted(c for c in set("".join(names)) if "".join(names).count(c) == 1)
    return expanded, dots + "".join(once)


def _explicit(subscripts: str, output: str, dots: str, inputs: Sequence[str]) -> str:
    if dots and "..." not in output:
        raise ShapeError(
            f"einsum '{subscripts}': the result has no ellipsis for the {len(dots)} axes that the "
            f"operands' ellipsis stands for; write '->...{output}', or name and leave them out"
        )
    letters = output.replace("...", dots, 1)
    for c in letters:
        if not any(c in x for x in inputs):
            raise ShapeError(f"einsum '{subscripts}': '{c}' of the result is in no operand")
        if letters.count(c) > 1:
            raise ShapeError(f"einsum '{subscripts}': '{c}' is twice in the result; use np.diag")
    return letters


def _lengths(subscripts: str, inputs: Sequence[str], shapes: Sequence[Shape]) -> dict[str, int]:
    """The length of each letter; 1 is broadcast, between operands."""
    lengths: dict[str, tuple[int, int]] = {}
    for i, (letters, shape) in enumerate(zip(inputs, shapes, strict=True)):
        for c, n in zip(letters, shape, strict=True):
            known, where = lengths.get(c, (1, i))
            first = shape[letters.index(c)]
            if n != first:
                known, where = first, i
            if n != known and (n != first or 1 not in (n, known)):
                name = f"'{c}'" if c in subscripts else "an axis of the ellipsis"
                raise ShapeError(
                    f"einsum '{subscripts}': {name} is {known} in operand {where} but {n} in "
                    f"operand {i}"
                )
            if n != 1 or c not in lengths:
                lengths[c] = (n, i)
    return {c: n for c, (n, _) in lengths.items()}


def _squeezed(letters: str, shape: Shape, lengths: dict[str, int]) -> Shape:
    """The axes of length 1 that are broadcast."""
    pairs = enumerate(zip(letters, shape, strict=True))
    return tuple(i for i, (c, n) in pairs if n == 1 != lengths[c])


def _single(left: str, squeezed: Shape, elsewhere: set[str]) -> tuple[Single, str]:
    """The steps for one operand of the letters ``left``, and those that stay."""
    diagonals = []
    while len(set(left)) < len(left):
        c = next(c for c in left if left.count(c) > 1)
        first = left.index(c)
        second = left.index(c, first + 1)
        diagonals.append((first, second))
        left = left[:first] + left[first + 1 : second] + left[second + 1 :] + c
    summed = tuple(i for i, c in enumerate(left) if c not in elsewhere)
    return Single(squeezed, tuple(diagonals), summed), "".join(c for c in left if c in elsewhere)


def _cheapest(terms: Sequence[str], output: str, lengths: dict[str, int]) -> tuple[int, int]:
    """The two terms whose product is the smallest beside them; of equals the one made fastest."""

    def size(letters: Iterable[str]) -> int:
        return math.prod(lengths[c] for c in letters)

    def growth(pair: tuple[int, int]) -> tuple[int, int]:
        x, y = (terms[i] for i in pair)
        rest = {c for k, names in enumerate(terms) if k not in pair for c in names}
        kept = (set(x) | set(y)) & (rest | set(output))
        return size(kept) - size(x) - size(y), size(set(x) | set(y))

    return min(itertools.combinations(range(len(terms)), 2), key=growth)


def _pair(
    places: tuple[int, int], x: str, y: str, kept: set[str], lengths: dict[str, int]
) -> tuple[Pair, str]:
    """The contraction of two terms, and the letters of its result."""
    batch = [c for c in x if c in y and c in kept]
    summed = [c for c in x if c in y and c not in kept]
    left = [c for c in x if c not in y]
    right = [c for c in y if c not in x]

    def sides(*groups: Sequence[str]) -> Shape:
        return tuple(math.prod(lengths[c] for c in group) for group in groups)

    front = tuple(lengths[c] for c in batch)
    orders = (
        tuple(x.index(c) for c in batch + left + summed),
        tuple(y.index(c) for c in batch + summed + right),
    )
    if summed:
        shapes = (front + sides(left, summed), front + sides(summed, right))
    else:
        shapes = (front + sides(left, []), front + sides([], right))
    result = "".join(batch + left + right)
    return Pair(places, orders, shapes, bool(summed), tuple(lengths[c] for c in result)), result
