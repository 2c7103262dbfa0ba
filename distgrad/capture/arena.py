"""Planned memory: one stretch a thread, which the programs of all its captured steps share."""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

import numpy as np

from distgrad.autograd.types import Array
from distgrad.heap import give_back_freed

_LARGE = 4 << 20
"""Bytes that are not kept for programs while steps are recorded, and the other way round."""


class User(Protocol):
    """Who has taken note of where planned memory is."""

    def forget(self, memory: Array) -> None:
        """Hold this memory no longer."""


class Arena(threading.local):
    """Planned memory of a thread."""

    def __init__(self) -> None:
        self.memory: Array | None = None
        """None while a step is running there, too."""
        self.users: weakref.WeakSet[User] = weakref.WeakSet()
        """Who holds it."""

    def taken(self, size: int) -> Array:
        """Return ``size`` bytes, at the start of a cache line, in place of what there is."""
        self._give_back()
        if size >= _LARGE:  # what eager steps have left
            give_back_freed(size)
        room = np.empty(size + 128, np.uint8)
        skip = -room.ctypes.data % 64
        return room[skip : skip + size + 64]

    def make_room(self) -> None:
        """Give back what is large: a step is recorded, which needs memory of its own."""
        size = 0 if self.memory is None else self.memory.size
        if size >= _LARGE:
            self._give_back()
            give_back_freed(size)  # the pieces of a step would not all fit into the hole it leaves

    def _give_back(self) -> None:
        memory, self.memory = self.memory, None
        if memory is not None:
            for user in self.users:
                user.forget(memory)


arena = Arena()
