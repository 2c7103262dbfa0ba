"""What was taken out of modules, and when: a captured step that has used it is recorded anew."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any


class Replaced:
    """Counts the changes of all trees, and knows what each has taken out while that lives."""

    def __init__(self) -> None:
        self.count = 0
        self._when: dict[int, tuple[weakref.ref[Any], int]] = {}  # by ``id``

    def note(self, old: Any) -> None:
        """Note that a tree has changed, and that ``old`` was in the changed place (or None)."""
        self.count += 1
        if old is not None:
            number = id(old)
            self._when[number] = (
                weakref.ref(old, lambda _: self._when.pop(number, None)),
                self.count,
            )

    def since(self, count: int, used: Iterable[Any]) -> bool:
        """Whether one of ``used`` was taken out after change number ``count``."""
        for x in used:
            ref, when = self._when.get(id(x), (None, 0))
            if when > count and ref is not None and ref() is x:
                return True
        return False


REPLACED = Replaced()
