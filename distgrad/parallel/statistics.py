"""Running statistics of a model (BatchNorm): collected per shard, applied once per batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distgrad.autograd.types import Array
from distgrad.nn import Module
from distgrad.parallel.bucket import ShardedBuffer
from distgrad.parallel.exchange import Exchange


class StatisticsBuffer:
    """Observes the modules that have statistics and gives them the mean over the global batch.

    A shard's statistics weigh as much as its samples. A module called several times in a shard, or
    in several batches that are accumulated, counts with the sum of its calls by their weights.
    """

    def __init__(self, module: Module) -> None:
        self.modules = [m for m in module.modules() if m.statistics]
        self._starts: dict[int, int] = {}
        size = 0
        for m in self.modules:
            m._observer = self._observe
            self._starts[id(m)] = size
            size += sum(getattr(m, name).size for name in m.statistics)
        # The flags carry the weight with which each module took part.
        self.buffer = ShardedBuffer(size, len(self.modules), "f4", "running statistics")
        self._calls = np.zeros(len(self.modules), np.int64)
        self._pass = np.zeros_like(self.buffer.local)  # what was seen since the last backward
        self.skip_nonfinite = False
        """Leave the running statistics as they are when a batch's are NaN or infinite."""

    def _observe(self, module: Module, statistics: Mapping[str, Array]) -> None:
        number = next(i for i, m in enumerate(self.modules) if m is module)
        for name, window in self._windows(module, self._pass):
            value = np.asarray(statistics[name], np.float32).reshape(-1)
            window[...] = window + value if self._calls[number] else value
        self._calls[number] += 1

    def _windows(self, module: Module, array: Array) -> list[tuple[str, Array]]:
        start = self._starts[id(module)]
        windows = []
        for name in module.statistics:
            stop = start + getattr(module, name).size
            windows.append((name, array[start:stop]))
            start = stop
        return windows

    def open(self, shard: int, empty: bool) -> None:
        """Start from what ``shard`` has gathered in earlier batches: nothing, as a rule."""
        if self.modules and (empty or not self.buffer.take_up(shard)):
            self.buffer.local[...] = 0

    def gather(self, weight: float) -> None:
        """Add what was seen since the last backward pass to the shard's, with its weight."""
        for number, module in enumerate(self.modules):
            calls = int(self._calls[number])
            if not calls:
                continue
            seen = self._windows(module, self._pass)
            for (_, gathered), (_, new) in zip(
                self._windows(module, self.buffer.local), seen, strict=True
            ):
                np.add(gathered, new * (weight / calls), out=gathered)
            self.buffer.flags[number] += weight
        self._calls[:] = 0

    def add(self, exchange: Exchange, shard: int) -> None:
        """Hand in what the shard has gathered."""
        if self.modules:
            self.buffer.add(exchange, shard)

    def finish(self) -> None:
        """Wait for the sums and apply them to every module that took part."""
        self.buffer.wait()
        for number, module in enumerate(self.modules):
            weight = self.buffer.flags[number]
            windows = self._windows(module, self.buffer.local)
            usable = not self.skip_nonfinite or all(np.isfinite(w).all() for _, w in windows)
            if weight > 0 and usable:
                module.apply_statistics(
                    {
                        name: (window / weight).reshape(getattr(module, name).shape)
                        for name, window in windows
                    }
                )
