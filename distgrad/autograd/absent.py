"""Memory whose content is elsewhere for now, and who brings it back.

Closures hold the arrays that they will read from the forward to the backward pass; between the two
a sharded model's values are on other ranks. Knows no rank: a keeper does.
"""

from __future__ import annotations

import weakref
from typing import Protocol

from distgrad.autograd.types import Array


class Keeper(Protocol):
    """Who has given memory back, and can fill it again."""

    def bring(self) -> None:
        """Have the content in the memory again."""


ABSENT: dict[int, weakref.ref[Keeper]] = {}
"""By the number (``id``) of the array that owns the memory; empty in most programs."""


def leave(memory: Array, keeper: Keeper) -> None:
    """Say that the content of ``memory``, which ``keeper`` holds, is elsewhere from here on."""
    number = id(memory)
    ABSENT[number] = weakref.ref(keeper, lambda _: ABSENT.pop(number, None))


def come(memory: Array) -> None:
    """Say that it is there again."""
    ABSENT.pop(id(memory), None)


def bring(a: Array) -> None:
    """Have the content of the memory in which ``a`` lies."""
    for number in owners(a):
        found = ABSENT.get(number)
        keeper = None if found is None else found()
        if keeper is not None:
            keeper.bring()


def owners(a: object) -> list[int]:
    """Return the numbers of ``a`` and of all whose memory it is a view of."""
    found = []
    while a is not None:
        found.append(id(a))
        a = getattr(a, "base", None)
    return found
