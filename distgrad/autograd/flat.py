"""Tensors as views of flat buffers, so that long arrays are updated instead of many small ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.layout import FlatBuffer, Place, Sharding, Slot
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array

# The slot behind ``array``, before which a subclass may put a property.
_array: Any = Tensor.__dict__["array"]


held: Callable[[Tensor], Array] = _array.__get__
"""Return the memory of a Tensor as it is, also while its values are on their way."""


gradient_held: Callable[[Tensor], Tensor | None] = Tensor.__dict__["grad"].__get__
"""Return the gradient of a Tensor, as its attribute does, to ``map``."""


def hold_(tensor: Tensor, array: Array) -> None:
    """Let ``array`` be the memory of ``tensor``."""
    _array.__set__(tensor, array)


def bind_(tensors: Sequence[Tensor], buffer: FlatBuffer) -> list[Place]:
    """Make ``tensors`` views of ``buffer``, as it is laid out, keeping what they hold.

    Their gradients will be written to the same places of its gradients. All have its dtype.
    """
    places = []
    for t, slot in zip(tensors, buffer.layout.slots, strict=True):
        place = Place(buffer, slot, slot.view(buffer.values), slot.view(buffer.gradients))
        if buffer.sharding is None or buffer.sharding.leads:
            np.copyto(place.value, t.array)
        # What one rank writes the others would not see, or all would write the same memory.
        place.value.flags.writeable = buffer.sharding is None
        t.array, t._place = place.value, place
        places.append(place)
    return places


def place_of(tensor: Tensor) -> Place | None:
    """Return where ``tensor`` lies; None if its data is an array of its own."""
    place = tensor._place
    return place if place is not None and held(tensor) is place.value else None


def sharding_of(tensor: Tensor) -> Sharding | None:
    """Return how the buffer is shared out in which ``tensor`` lies; None if it is not."""
    return None if tensor._place is None else tensor._place.buffer.sharding


def own_window(sharding: Sharding | None, slot: Slot) -> slice:
    """Return which of the elements of ``slot``, counted from its first, are this rank's."""
    if sharding is None:
        return slice(0, slot.stop - slot.start)
    start = min(max(sharding.own.start, slot.start), slot.stop)
    stop = max(min(sharding.own.stop, slot.stop), start)
    return slice(start - slot.start, stop - slot.start)


def own_values(tensor: Tensor) -> Array:
    """Return this rank's part of the values, flat, to be written: after ``settle``, if shared."""
    place = place_of(tensor)
    if place is None or place.buffer.sharding is None:
        return tensor.array.reshape(-1)
    values = place.slot.view(place.buffer.values).reshape(-1)
    return values[own_window(place.buffer.sharding, place.slot)]
