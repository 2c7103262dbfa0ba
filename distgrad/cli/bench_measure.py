"""Measures all-reduces side by side: time, and how much of it computation can hide.

In each round every candidate has its turn, so that what changes meanwhile hits all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from distgrad.cli.bench_sums import Bound, Candidate, check_sum
from distgrad.comm import Communicator, gather_json

_ROUND = 2e-3  # seconds that the calls of one turn take, about
_MOST_CALLS = 100
_NODE = 50e-6  # seconds of computation between two polls: a node of a graph of middling size
_WIDTH = 32  # of the products that computation is made of


@dataclass(frozen=True)
class Row:
    """What one candidate takes for arrays of one size: medians over rounds of the slowest rank."""

    algorithm: str
    nbytes: int
    seconds: float
    overlap: float | None
    """Part of the time that computation hides, 0 to 1; None for one that cannot be started."""

    @property
    def bandwidth(self) -> float:
        """Bytes of the array per second."""
        return self.nbytes / self.seconds


def measure(
    comm: Communicator,
    candidates: Sequence[Candidate],
    sizes: Sequence[int],
    dtype: np.dtype[Any],
    rounds: int,
    *,
    overlap: bool = True,
) -> list[Row]:
    """Measure every candidate at every size in bytes; collective, the same result on all ranks."""
    computation = Computation()
    rows: list[Row] = []
    for nbytes in sizes:
        count = max(1, nbytes // dtype.itemsize)
        bound = {c: b for c in candidates if (b := c.bind(count, dtype)) is not None}
        for candidate, b in bound.items():
            check_sum(comm, candidate.name, b)
        times = _times(comm, bound, rounds)
        overlaps = _overlaps(comm, bound, times, computation, rounds) if overlap else {}
        for candidate, seconds in times.items():
            size = count * dtype.itemsize
            rows.append(Row(candidate.name, size, seconds, overlaps.get(candidate)))
    return rows


def _times(
    comm: Communicator, bound: dict[Candidate, Bound], rounds: int
) -> dict[Candidate, float]:
    turns = {c: timed(comm, b, 1) for c, b in bound.items()}
    # All ranks make as many calls: as many as the slowest has time for.
    slowest = [
        max(each)
        for each in zip(*gather_json(comm, [*turns.values()], "distgrad bench"), strict=True)
    ]
    calls = [max(1, min(_MOST_CALLS, int(_ROUND / s))) for s in slowest]
    found = [
        [timed(comm, b, k) for b, k in zip(bound.values(), calls, strict=True)]
        for _ in range(rounds)
    ]
    return dict(zip(bound, medians_of_the_slowest(comm, found), strict=True))


def timed(comm: Communicator, bound: Bound, calls: int) -> float:
    """Return the seconds of one of so many calls, begun by all ranks together."""
    start = bound.start
    comm.barrier()
    since = perf_counter()
    for _ in range(calls):
        start().wait()
    return (perf_counter() - since) / calls


def medians_of_the_slowest(comm: Communicator, found: list[list[float]]) -> list[float]:
    """Return, of figures by round and candidate, the medians over rounds of the largest rank's."""
    everyone = np.array(gather_json(comm, found, "distgrad bench"))  # rank, round, candidate
    return [float(m) for m in np.median(everyone.max(axis=0), axis=0)]


# -- overlap ------------------------------------------------------------------------------------


class Computation:
    """Computation of a length that is asked for: small matrix products, which need no memory."""

    def __init__(self) -> None:
        self.a = np.full((_WIDTH, _WIDTH), 1e-3, np.float32)
        self.out = np.empty_like(self.a)
        self.seconds = min(self._timed(200) for _ in range(5)) / 200
        """What one product takes."""

    def _timed(self, products: int) -> float:
        since = perf_counter()
        self.do(products)
        return perf_counter() - since

    def do(self, products: int) -> None:
        """Make so many products."""
        for _ in range(products):
            np.matmul(self.a, self.a, out=self.out)

    def between(self, products: int, poll: Callable[[], object]) -> None:
        """Make them, and poll before each stretch of them as the engine does between nodes."""
        stretch = max(1, round(_NODE / self.seconds))
        while products > 0:
            poll()
            self.do(min(stretch, products))
            products -= stretch


def _overlaps(
    comm: Communicator,
    bound: dict[Candidate, Bound],
    times: dict[Candidate, float],
    computation: Computation,
    rounds: int,
) -> dict[Candidate, float]:
    """Return the overlap of each, the mean over ranks of their medians over rounds."""
    asked = [c for c in bound if c.overlaps]
    products = {c: max(1, round(times[c] / computation.seconds)) for c in asked}
    found: dict[Candidate, list[tuple[float, float]]] = {c: [] for c in asked}
    for _ in range(rounds):
        for c in asked:
            found[c].append(_overlapped(comm, bound[c], computation, products[c]))
    mine = []
    for c in asked:
        computed = median(alone for alone, _ in found[c])
        together = median(total for _, total in found[c])
        mine.append(hidden(together, computed, times[c]))
    everyone = np.array(gather_json(comm, mine, "distgrad bench")).reshape(comm.size, -1)
    return {c: float(m) for c, m in zip(asked, everyone.mean(axis=0), strict=True)}


def hidden(t_total: float, t_compute: float, t_pure: float) -> float:
    """Return max(0, 1 - (t_total - t_compute) / t_pure), as OSU's micro-benchmarks define it."""
    return min(1.0, max(0.0, 1 - (t_total - t_compute) / t_pure))


def _overlapped(
    comm: Communicator, bound: Bound, computation: Computation, products: int
) -> tuple[float, float]:
    """Return the seconds of the computation alone, and of the sum with it in between."""
    comm.barrier()
    since = perf_counter()
    computation.between(products, _nothing)
    alone = perf_counter() - since
    comm.barrier()
    since = perf_counter()
    pending = bound.start()
    computation.between(products, pending.poll)
    pending.wait()
    return alone, perf_counter() - since


def _nothing() -> None:
    pass
