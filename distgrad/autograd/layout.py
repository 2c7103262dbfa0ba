"""FlatLayout: which array lies where in a flat buffer. Knows no Tensor and no rank.

The one place that computes starts and stops: those of buckets, of running statistics, and of what
an optimizer moves at once and keeps.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

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


class Ranks(Protocol):
    """Those who share out a model's buffers. Every method is collective."""

    def add_up_(self, numbers: Array) -> None:
        """Replace ``numbers`` by their sum over the ranks, in place."""

    def send_values(self) -> None:
        """Begin to send everyone the values that were changed (``Sharding.changed``)."""

    def values_here(self) -> AbstractContextManager[None]:
        """Have all values on all ranks, inside ``with``."""

    def writing(self) -> AbstractContextManager[None]:
        """Let parameters be written to inside ``with``, on all ranks alike."""


class Sharding(Protocol):
    """Who keeps which part of a buffer that ranks share out: the bridge implements it.

    All ranks have all values, or wait for them; each moves its own part of them, and has the
    gradients (summed) and the optimizer's state of that part alone.
    """

    @property
    def ranks(self) -> Ranks:
        """With whom it is shared; the same object for all buffers of a model."""

    @property
    def own(self) -> slice:
        """This rank's part of the buffer."""

    @property
    def leads(self) -> bool:
        """Whether this rank writes values that are the same on all ranks."""

    def part(self, place: Place) -> Part:
        """Return this rank's elements of the gradient at ``place``."""

    def squares_of(self, slot: Slot) -> list[float] | None:
        """Return the sum of the squares of each block of the gradient in ``slot``, if known."""

    def gradients_change(self) -> None:
        """Note that own gradients are about to be written to."""

    def is_cut(self, slot: Slot) -> bool:
        """Whether several ranks have a part of the array in ``slot``."""

    def admit(self, slot: Slot, mover: Mover) -> None:
        """Refuse an optimizer that cannot move the parts the array in ``slot`` was cut into."""

    def settle(self) -> None:
        """Return when the own values may be written."""

    def changed(self) -> None:
        """Note that the own values were written, and the other ranks have old ones."""

    def assign(self, places: Sequence[Place], arrays: Sequence[Array]) -> None:
        """Let some parameters have values that are the same on all ranks; collective."""

    def gather_(self, array: Array, start: int) -> None:
        """Fill ``array``, elements ``start`` … of such a buffer, with each rank's part of it.

        Collective.
        """

    def send_(self, array: Array, slot: Slot) -> None:
        """Copy the array of the rank that keeps ``slot``, which is not cut, to all; collective."""


@dataclass(frozen=True, eq=False)
class Mover:
    """An optimizer, as far as it matters to how its parameters may be cut."""

    optimizer: weakref.ref[object]
    name: str
    needs: Literal["elements", "parameters", "everything"]
    """Whether its update looks at single elements, at whole parameters, or at all at once."""


@dataclass(frozen=True, eq=False)
class Part:
    """This rank's elements of a gradient that ranks share out, from number ``first`` on."""

    array: Array
    """Flat, and read-only: what is known of the gradient is forgotten by who writes to it."""
    first: int
    size: int  # of the whole
    slot: Slot
    sharding: Sharding
    _memory: Array

    @classmethod
    def of(cls, place: Place, own: slice, sharding: Sharding) -> Part:
        """Return the elements ``own`` of the gradient at ``place``, counted from its first."""
        memory = place.gradient.reshape(-1)[own]
        array = memory.view()
        array.flags.writeable = False
        return cls(array, own.start, place.value.size, place.slot, sharding, memory)

    def to_write(self) -> Array:
        """Return the array, to be written to."""
        self.sharding.gradients_change()
        return self._memory


@dataclass(frozen=True, eq=False)
class FlatBuffer:
    """Memory laid out by ``layout``: values and their gradients (1-D; behind them may be more).

    Ranks may share it out (``sharding``).
    """

    layout: FlatLayout
    values: Array
    gradients: Array
    sharding: Sharding | None = None
    neighbours: dict[tuple[int, int], Any] = field(default_factory=dict)
    """What ``autograd.neighbours`` has found, by the first one's start and how many they are."""


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """Where a tensor lies in a buffer; it does as long as its data is this very ``value``."""

    buffer: FlatBuffer
    slot: Slot
    value: Array
    gradient: Array
