"""Where a rank's time goes in collectives: counters that works add to, always on.

Only what holds the rank up is counted as waiting or transfer; it reads no clock itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass
class Spent:
    """Seconds for which collectives of one kind have held this rank up."""

    count: int = 0
    waiting: float = 0.0
    """Until the others had come to the collective, as far as the check at its start sees."""
    transfer: float = 0.0
    """From then on, until it was complete."""


class Times:
    """The counters of one rank: the sums, and those of each kind of collective."""

    __slots__ = ("_begun", "_under_way", "kinds", "transfer", "waiting")

    def __init__(self) -> None:
        self.kinds: dict[str, Spent] = {}
        self.waiting = self.transfer = 0.0
        self._under_way = 0.0
        self._begun: float | None = None

    def held_up(self, what: str, begun: float, arrived: float, ended: float) -> None:
        """Count a wait for a collective, whose ranks had ``arrived`` before it or meanwhile."""
        kind = kind_of(what)
        spent = self.kinds.get(kind) or self.kinds.setdefault(kind, Spent())
        spent.count += 1
        if arrived > begun:
            spent.waiting += arrived - begun
            self.waiting += arrived - begun
            begun = arrived
        spent.transfer += ended - begun
        self.transfer += ended - begun

    def one_is_under_way(self, now: float) -> None:
        """Note that the first of several collectives has begun."""
        self._begun = now

    def none_is_under_way(self, now: float) -> None:
        """Note that the last of them is over."""
        if self._begun is not None:
            self._under_way += now - self._begun
            self._begun = None

    def under_way(self, now: float) -> float:
        """Return the seconds in which at least one collective was under way."""
        return self._under_way + (0.0 if self._begun is None else now - self._begun)


@lru_cache(maxsize=4096)
def kind_of(what: str) -> str:
    """Return the kind of a collective from its description: without name, dtype, count, root."""
    return what.partition(" '")[0].partition(" from ")[0]
