"""Tensors as views of flat buffers, so that long arrays are updated instead of many small ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distgrad.autograd.layout import FlatBuffer, Place
from distgrad.autograd.tensor import Tensor


def bind_(tensors: Sequence[Tensor], buffer: FlatBuffer) -> list[Place]:
    """Make ``tensors`` views of ``buffer``, as it is laid out, keeping what they hold.

    Their gradients will be written to the same places of its gradients. All have its dtype.
    """
    places = []
    for t, slot in zip(tensors, buffer.layout.slots, strict=True):
        place = Place(buffer, slot, slot.view(buffer.values), slot.view(buffer.gradients))
        np.copyto(place.value, t.array)
        t.array, t._place = place.value, place
        places.append(place)
    return places


def place_of(tensor: Tensor) -> Place | None:
    """Return where ``tensor`` lies; None if its data is an array of its own."""
    place = tensor._place
    return place if place is not None and tensor.array is place.value else None
