"""The ranks' clocks, compared by messages to and fro (Cristian 1989): what each has to add.

``perf_counter`` counts from the boot of a machine, so that the ranks of one machine have one clock.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distgrad.comm import Communicator, gather_json

_ROUNDS = 20  # of which the shortest counts
_BOOT, _NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/timens_offsets")


class Offset(NamedTuple):
    """What a rank's clock lacks to rank 0's, in seconds."""

    at: float
    """When it was found, on the rank's own clock."""
    offset: float
    error: float
    """The most by which it may be wrong: half of the shortest way to rank 0 and back."""


class Clock(NamedTuple):
    """A rank's clock, compared with rank 0's at the beginning and at the end."""

    first: Offset
    last: Offset

    def aligned(self, time: float) -> float:
        """Return a time of this rank's clock as one of rank 0's; between the two by interpolation.

        Two quartz clocks drift apart by up to 100 µs a second, evenly.
        """
        (a, before, _), (b, after, _) = self
        return time + before + (after - before) * ((time - a) / (b - a) if b > a else 0.0)

    @property
    def error(self) -> float:
        """The most by which an aligned time may be wrong."""
        return max(self.first.error, self.last.error)


def identity(host: str) -> str:
    """Return what tells this machine's clock from others': the boot it counts from.

    Containers may have clocks of their own (time namespaces).
    """
    if not _BOOT.exists():  # no Linux
        return host
    return _BOOT.read_text() + (_NAMESPACE.read_text() if _NAMESPACE.exists() else "")


def measure(comm: Communicator, name: str, clock: Callable[[], float] = perf_counter) -> Offset:
    """Return this rank's offset; ``name`` is its clock's identity. Collective.

    One rank of each clock asks rank 0 for the time, one after the other; the others take over what
    it finds.
    """
    clocks: list[str] = gather_json(comm, name, "clocks of a timeline")
    asking = [clocks.index(other) for other in dict.fromkeys(clocks)][1:]
    mine = Offset(clock(), 0.0, 0.0)
    told = np.zeros(1)
    for rank in asking:
        if comm.rank == 0:
            for _ in range(_ROUNDS):
                comm.recv(told, rank)
                told[0] = clock()
                comm.send(told, rank)
        elif comm.rank == rank:
            mine = min((_ask(comm, told, clock) for _ in range(_ROUNDS)), key=lambda o: o.error)
    found = gather_json(comm, mine, "clocks of a timeline")
    _, offset, error = found[clocks.index(name)]
    return Offset(mine.at if comm.rank in asking else clock(), offset, error)


def _ask(comm: Communicator, told: NDArray[np.float64], clock: Callable[[], float]) -> Offset:
    begun = clock()
    comm.send(told, 0)
    comm.recv(told, 0)
    ended = clock()
    middle = (begun + ended) / 2
    return Offset(middle, float(told[0]) - middle, (ended - begun) / 2)
