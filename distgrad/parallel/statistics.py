"""Running statistics of a model (BatchNorm): collected per shard, applied once per batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distgrad.autograd.tensor import Array
from distgrad.nn import Module
from distgrad.parallel.bucket import ShardedBuffer
from distgrad.parallel.canonical import Exchange


class StatisticsBuffer:
    """Observes the modules that have statistics and gives them the mean over the global batch.

    A shard's statistics weigh as much as its samples. A module called several times in a shard
    counts with the mean of its calls.
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
        self.skip_nonfinite = False
        """Leave the running statistics as they are when a batch's are NaN or infinite."""

    def _observe(self, module: Module, statistics: Mapping[str, Array]) -> None:
        number = next(i for i, m in enumerate(self.modules) if m is module)
        for name, window in self._windows(module):
            value = np.asarray(statistics[name], np.float32).reshape(-1)
            window[...] = window + value if self._calls[number] else value
        self._calls[number] += 1

    def _windows(self, module: Module) -> list[tuple[str, Array]]:
        start = self._starts[id(module)]
        windows = []
        for name in module.statistics:
            stop = start + getattr(module, name).size
            windows.append((name, self.buffer.local[start:stop]))
            start = stop
        return windows

    def add(self, exchange: Exchange, index: int, weight: float) -> None:
        """Hand in the current shard's statistics with its weight."""
        if not self.modules:
            return
        for number, module in enumerate(self.modules):
            calls = int(self._calls[number])
            for _, window in self._windows(module):
                window[...] = window * (weight / calls) if calls else 0
            self.buffer.flags[number] = weight if calls else 0.0
        self._calls[:] = 0
        self.buffer.add(exchange, index)

    def finish(self) -> None:
        """Wait for the sums and apply them to every module that took part."""
        self.buffer.wait()
        for number, module in enumerate(self.modules):
            weight = self.buffer.flags[number]
            usable = not self.skip_nonfinite or all(
                np.isfinite(window).all() for _, window in self._windows(module)
            )
            if weight > 0 and usable:
                module.apply_statistics(
                    {
                        name: (window / weight).reshape(getattr(module, name).shape)
                        for name, window in self._windows(module)
                    }
                )
