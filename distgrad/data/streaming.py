"""The samples of a stream, a batch at a time: read by the rank, or ahead of it by one worker.

One, whatever ``num_workers`` asks for: the samples come in the stream's order, each of them once,
with the random numbers that they have without workers. ``get_worker_info`` says 0 of 1, so that a
stream which cuts itself among workers is whole.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from distgrad.autograd import stream
from distgrad.data.workers import Workers

_STREAM = 1 << 32  # no shard has this number: a stream draws alike on all ranks


@dataclass(frozen=True)
class Stretch:
    """Up to ``size`` samples, the ``number``-th of an epoch, and what their random draws need."""

    number: int
    size: int
    step: int
    source: int
    seed: int

    @property
    def place(self) -> tuple[int, int]:
        """What keys random draws beside seed and source."""
        return self.step, _STREAM


class StreamReader:
    """Reads a stream from its beginning, stretch by stretch, in the rank or in its worker."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._samples: Iterator[Any] = iter(())

    def read(self, stretch: Stretch) -> list[Any]:
        """Return the next samples, none at the end; number 0 begins anew."""
        if stretch.number == 0:
            self._samples = iter(self.dataset)
        with stream.in_shard(stretch.step, _STREAM, {}, stretch.source):
            return list(itertools.islice(self._samples, stretch.size))

    def read_all(self, wanted: Iterable[Stretch]) -> Iterator[list[Any]]:
        """Yield the samples of each stretch, read when it is due."""
        return map(self.read, wanted)

    def work(self, job: Stretch) -> tuple[int, Any]:
        """Return 0, as no draws of a shard were taken, and the samples."""
        return 0, self.read(job)


def stretches(epoch: int, size: int, source: int) -> Iterator[Stretch]:
    """Yield the stretches of an epoch, without end."""
    for number in itertools.count():
        yield Stretch(number, size, (epoch << 32) + number, source, stream.seed.get())


def read_ahead(workers: Workers, wanted: Iterator[Stretch], asked: int) -> Iterator[list[Any]]:
    """Yield the samples of each stretch; as many are read ahead as by ``asked`` workers."""
    ahead = asked * workers.prefetch
    tickets: deque[int] = deque()
    try:
        for stretch in wanted:
            tickets.append(workers.order(stretch))
            if len(tickets) > ahead:
                yield workers.take(tickets.popleft())[1]
    finally:
        workers.drop(list(tickets))
