"""Gradients that lie side by side in buffers, taken as the few long arrays that they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import is_, is_not

import numpy as np

from distgrad.autograd.flat import gradient_held, held
from distgrad.autograd.layout import FlatBuffer
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array


@dataclass(frozen=True, eq=False)
class Stretch:
    """Gradients without a gap between them: of which of the tensors, and from where to where."""

    flat: Array
    bounds: Array
    """Where each begins in ``flat``, and where the last one ends."""
    numbers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The gradients of some tensors, all of them at their places."""

    gradients: list[Array]
    stretches: list[Stretch]

    def are_those_of(self, tensors: Sequence[Tensor]) -> bool:
        """Whether these are (still) the gradients of ``tensors``."""
        grads = [*map(gradient_held, tensors)]
        if len(grads) != len(self.gradients) or not all(map(is_not, grads, repeat(None))):
            return False
        return all(map(is_, map(held, grads), self.gradients))  # type: ignore[arg-type]


def neighbours(tensors: Sequence[Tensor]) -> Neighbours | None:
    """Return how the gradients of ``tensors``, which have some, lie in the memory of this rank.

    None if one is not at its place in a buffer, or ranks share a buffer out.
    """
    place = tensors[0]._place if tensors else None
    if place is None or place.buffer.sharding is not None:
        return None
    known, key = place.buffer.neighbours, (place.slot.start, len(tensors))
    found = known.get(key)
    if found is None or not found.are_those_of(tensors):
        found = by_places(tensors) if all(map(is_in_place, tensors)) else None
        if found is not None:
            known[key] = found
    return found


def is_in_place(t: Tensor) -> bool:
    """Whether the gradient of ``t`` is at its place in a buffer that is this rank's alone."""
    place = t._place
    if place is None or place.buffer.sharding is not None:
        return False
    return t.grad is not None and held(t.grad) is place.gradient


def by_places(tensors: Sequence[Tensor]) -> Neighbours | None:
    """Return the same for gradients that are to come, at their places."""
    gradients: list[Array] = []
    placed: dict[FlatBuffer, list[tuple[int, int, int]]] = {}
    for number, t in enumerate(tensors):
        place = t._place
        if place is None or place.buffer.sharding is not None:
            return None
        gradients.append(place.gradient)
        placed.setdefault(place.buffer, []).append((place.slot.start, place.slot.stop, number))
    stretches: list[Stretch] = []
    for buffer, slots in placed.items():
        slots.sort()  # buckets run from the last layer back
        first = 0
        for i in range(1, len(slots) + 1):
            if i == len(slots) or slots[i][0] != slots[i - 1][1]:
                stretches.append(_stretch(buffer, slots[first:i]))
                first = i
    return Neighbours(gradients, stretches)


def _stretch(buffer: FlatBuffer, slots: list[tuple[int, int, int]]) -> Stretch:
    begin, end = slots[0][0], slots[-1][1]
    bounds = np.array([*(start - begin for start, _, _ in slots), end - begin])
    return Stretch(buffer.gradients[begin:end], bounds, tuple([n for _, _, n in slots]))
