"""Running statistics of a model (BatchNorm): collected per shard, applied once per batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from distgrad.autograd.layout import FlatLayout
from distgrad.autograd.types import Array
from distgrad.nn import Module
from distgrad.parallel.bucket import ShardedBuffer
from distgrad.parallel.exchange import Exchange
from distgrad.parallel.shards import current_shard


class StatisticsBuffer:
    """Takes the statistics of modules that have some and gives them the mean over the global batch.

    A shard's statistics weigh as much as its samples. A module called several times in a shard, or
    in several batches that are accumulated, counts with the sum of its calls by their weights. A
    forward pass counts if a backward pass follows it in its own walk of the shard; in any other it
    would come with shards that depend on the number of ranks, or be lost between two runs.
    """

    def __init__(self, modules: Iterable[Module]) -> None:
        self.modules = [m for m in modules if m.statistics]
        layout = FlatLayout.of(getattr(m, n).shape for m in self.modules for n in m.statistics)
        slots = iter(layout.slots)
        self._slots = [{name: next(slots) for name in m.statistics} for m in self.modules]
        # The flags carry the weight with which each module took part.
        self.buffer = ShardedBuffer(layout.size, len(self.modules), "f4", "running statistics")
        self._calls = np.zeros(len(self.modules), np.int64)
        self._pass = np.zeros_like(self.buffer.local)  # what was seen since the last backward
        self._seen_in = current_shard()  # and in which walk of a shard
        self.skip_nonfinite = False
        """Leave the running statistics as they are when a batch's are NaN or infinite."""

    def watch(self) -> None:
        """Let the modules hand their statistics to this buffer."""
        for number, m in enumerate(self.modules):
            m._observer = partial(self._observe, number)

    def _observe(self, number: int, module: Module, statistics: Mapping[str, Array]) -> None:
        self._drop_others()
        for name, slot in self._slots[number].items():
            seen = slot.view(self._pass)
            value = np.asarray(statistics[name], np.float32).reshape(slot.shape)
            seen[...] = seen + value if self._calls[number] else value
        self._calls[number] += 1

    def _drop_others(self) -> None:
        """Forget what was seen in another walk than the current one."""
        if self._seen_in is not current_shard():
            self._calls[:] = 0
            self._seen_in = current_shard()

    def open(self, shard: int, empty: bool) -> None:
        """Start from what ``shard`` has gathered in earlier batches: nothing, as a rule."""
        if self.modules and (empty or not self.buffer.take_up(shard)):
            self.buffer.local[...] = 0

    def gather(self, weight: float) -> None:
        """Add what was seen since the last backward pass to the shard's, with its weight."""
        self._drop_others()
        for number, slots in enumerate(self._slots):
            calls = int(self._calls[number])
            if not calls:
                continue
            for slot in slots.values():
                gathered = slot.view(self.buffer.local)
                gathered += slot.view(self._pass) * (weight / calls)
            self.buffer.flags[number] += weight
        self._calls[:] = 0

    def add(self, exchange: Exchange, shard: int) -> None:
        """Hand in what the shard has gathered."""
        if self.modules:
            self.buffer.add(exchange, shard)

    def finish(self) -> None:
        """Wait for the sums and apply them to every module that took part."""
        self.buffer.wait()
        for module, slots, weight in zip(self.modules, self._slots, self.buffer.flags, strict=True):
            sums = {name: slot.view(self.buffer.local) for name, slot in slots.items()}
            usable = not self.skip_nonfinite or all(np.isfinite(s).all() for s in sums.values())
            if weight > 0 and usable:
                module.apply_statistics({name: s / weight for name, s in sums.items()})
