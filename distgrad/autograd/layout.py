"""FlatLayout: which array lies where in a flat buffer. Knows no Tensor and no rank.

The one place that computes starts and stops: those of buckets, of running statistics, and of what
an optimizer moves at once and keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distgrad.autograd.types import Array


@dataclass(frozen=True)
class Slot:
    """Where one array lies: in elements ``start`` to ``stop`` of the buffer."""

    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """One past its last element in the buffer."""
        return self.start + math.prod(self.shape)

    def view(self, flat: Array) -> Array:
        """Return the part of ``flat`` (1-D) that is this array, in its shape."""
        return flat[self.start : self.stop].reshape(self.shape)


@dataclass(frozen=True)
class FlatLayout:
    """Arrays side by side, without gaps. Integers only, the same on every rank."""

    slots: tuple[Slot, ...]

    @classmethod
    def of(cls, shapes: Iterable[tuple[int, ...]]) -> FlatLayout:
        """Lay out arrays of these shapes, in this order."""
        slots: list[Slot] = []
        for shape in shapes:
            slots.append(Slot(shape, slots[-1].stop if slots else 0))
        return cls(tuple(slots))

    @property
    def size(self) -> int:
        """The number of elements of all arrays together."""
        return self.slots[-1].stop if self.slots else 0


def span(slots: Sequence[Slot]) -> slice:
    """Return the part of a buffer that neighbours take up together."""
    return slice(slots[0].start, slots[-1].stop)


@dataclass(frozen=True, eq=False)
class FlatBuffer:
    """Memory laid out by ``layout``: values and their gradients (1-D; behind them may be more)."""

    layout: FlatLayout
    values: Array
    gradients: Array


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """Where a tensor lies in a buffer; it does as long as its data is this very ``value``."""

    buffer: FlatBuffer
    slot: Slot
    value: Array
    gradient: Array
