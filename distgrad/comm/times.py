"""Where a rank's time goes while it does not compute: counters that are always on.

Works add to them what collectives take, the loader adds what reading samples takes. Of collectives
only what holds the rank up is counted: not what is complete when it is wanted, and not the first 2
or 3 µs of a small sum inside a node, which would notice the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

from distgrad.tracing import tracer


@dataclass
class Spent:
    """Seconds for which collectives of one kind have held this rank up."""

    count: int = 0
    waiting: float = 0.0
    """Until the others had come to the collective, as far as the check at its start sees."""
    transfer: float = 0.0
    """From then on, until it was complete; all of it where nothing is checked (send, recv)."""


class Times:
    """The counters of one rank: the sums, and those of each kind of collective."""

    __slots__ = ("_begun", "_in_flight", "_under_way", "data", "kinds", "transfer", "waiting")

    def __init__(self) -> None:
        self.kinds: dict[str, Spent] = {}
        self.waiting = self.transfer = self.data = 0.0
        self._under_way = self._begun = 0.0
        self._in_flight = 0

    def held_up(self, what: str, begun: float, arrived: float) -> None:
        """Count a wait that ends now; the collective's ranks ``arrived`` before it or meanwhile."""
        kind, ended = kind_of(what), perf_counter()
        spent = self.kinds.get(kind) or self.kinds.setdefault(kind, Spent())
        spent.count += 1
        if arrived > begun:
            spent.waiting += arrived - begun
            self.waiting += arrived - begun
            if (listener := tracer.get()) is not None:
                listener.was("waiting", what, begun, arrived)
            begun = arrived
        spent.transfer += ended - begun
        self.transfer += ended - begun
        if (listener := tracer.get()) is not None:
            listener.was("transfer", what, begun, ended)

    def was_reading(self, begun: float) -> None:
        """Count what the training loop has waited for samples since ``begun``."""
        ended = perf_counter()
        self.data += ended - begun
        if (listener := tracer.get()) is not None:
            listener.was("data", "", begun, ended)

    def one_more(self) -> None:
        """Note that a collective has begun: something is under way from the first of several."""
        if not self._in_flight:
            self._begun = perf_counter()
        self._in_flight += 1

    def one_less(self) -> None:
        """Note that one of them is over, for which ``one_more`` was called."""
        self._in_flight -= 1
        if not self._in_flight:
            self._under_way += perf_counter() - self._begun

    def was_under_way(self, seconds: float) -> None:
        """Count a collective that was begun, waited for and complete, all of it now."""
        if not self._in_flight:
            self._under_way += seconds

    def under_way(self, now: float) -> float:
        """Return the seconds in which at least one collective was under way."""
        return self._under_way + (now - self._begun if self._in_flight else 0.0)


@lru_cache(maxsize=4096)
def kind_of(what: str) -> str:
    """Return the kind of a collective from its description: without name, dtype, count, root."""
    return what.partition(" '")[0].partition(" from ")[0]
