"""What shapes and strides come to; whole numbers alone."""

from __future__ import annotations

from collections.abc import Sequence

from distgrad.autograd.types import Shape


def dense(shape: Sequence[int], itemsize: int) -> Shape:
    """Return the strides of C order without gaps."""
    strides, step = [], itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def spread(shape: Sequence[int], strides: Sequence[int], full: Sequence[int]) -> list[int]:
    """Return the strides of what is broadcast to ``full``."""
    extra = len(full) - len(shape)
    own = [
        0 if n == 1 and m != 1 else s for n, m, s in zip(shape, full[extra:], strides, strict=True)
    ]
    return [0] * extra + own


def merge(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """Return as few axes as do, and the strides of each array along them."""
    merged: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for i, n in enumerate(shape):
        if n == 1:
            continue
        if merged and all(s[-1] == n * given[i] for s, given in zip(steps, strides, strict=True)):
            merged[-1] *= n
            for s, given in zip(steps, strides, strict=True):
                s[-1] = given[i]
        else:
            merged.append(n)
            for s, given in zip(steps, strides, strict=True):
                s.append(given[i])
    return merged, steps


def without_copy(
    shape: Sequence[int], strides: Sequence[int], new: Sequence[int]
) -> list[int] | None:
    """Return the strides of a view in another shape, None where NumPy copies (no empty arrays)."""
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    found: list[int] = []
    at = 0
    while old and at < len(new):
        # As few axes of both shapes as have the same number of elements.
        begin, (mine, step) = at, old.pop(0)
        theirs = new[at]
        at += 1
        while mine != theirs:
            if mine < theirs:
                n, s = old.pop(0)
                if step != n * s:  # not one behind the other
                    return None
                mine, step = mine * n, s
            else:
                theirs *= new[at]
                at += 1
        part: list[int] = []
        for n in reversed(new[begin:at]):
            part.append(step)
            step *= n
        found += reversed(part)
    last = found[-1] if found else strides[-1] if strides else 0
    return found + [last] * (len(new) - len(found))  # axes of length 1, where any will do
