"""How long the training loop waits for its loader: what the loader does between two batches."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import TypeVar

from distgrad.parallel.world import World

T = TypeVar("T")


def clocked(batches: Iterator[T], world: World) -> Iterator[T]:
    """Yield ``batches``; count the time each takes to come as the rank's reading of data."""
    times = world.comm.transport.state.times
    while True:
        begun = perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        finally:
            times.was_reading(begun)
        yield batch
