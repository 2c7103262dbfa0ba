"""What shapes and strides come to; whole numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def in_order(shape: Sequence[int], order: Sequence[int], itemsize: int) -> Shape:
    """Return the strides without gaps of axes that lie in this order in memory."""
    steps = dense([shape[i] for i in order], itemsize)
    return tuple([steps[order.index(i)] for i in range(len(shape))])


def order_of(strides: Sequence[Sequence[int]]) -> list[int]:
    """Return the axes as a ufunc's loops have them, from the outer one to the inner one.

    The strides of all inputs; 0 stands for an axis along which there is nothing to go.
    """

    def steps(i: int, j: int) -> list[tuple[int, int]]:
        return [(s[i], s[j]) for s in strides if s[i] and s[j]]

    return _sorted([*range(len(strides[0]))][::-1], steps)[::-1]


def order_of_joined(shapes: Sequence[Shape], strides: Sequence[Sequence[int]]) -> list[int]:
    """Return the axes of what np.concatenate makes, from that of the longest steps on."""
    each = [*zip(shapes, strides, strict=True)]

    def steps(i: int, j: int) -> list[tuple[int, int]]:
        return [(-abs(s[i]), -abs(s[j])) for n, s in each if n[i] != 1 and n[j] != 1]

    return _sorted([*range(len(shapes[0]))], steps)


def _sorted(order: list[int], steps: Callable[[int, int], list[tuple[int, int]]]) -> list[int]:
    # NumPy's: an axis goes before another if all arrays want it so; where none says, it looks on.
    for i in range(1, len(order)):
        at = i
        for j in range(i - 1, -1, -1):
            pairs = steps(order[i], order[j])
            if any(theirs <= mine for mine, theirs in pairs):
                break
            if pairs:
                at = j
        order.insert(at, order.pop(i))
    return order


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
