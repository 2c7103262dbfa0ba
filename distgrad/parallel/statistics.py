"""Running statistics of a model (BatchNorm): collected per shard, applied once per batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from distgrad.autograd.layout import FlatLayout
from distgrad.autograd.types import Array
from distgrad.nn import Module
from distgrad.parallel.bucket import ShardedBuffer
from distgrad.parallel.shards import ShardPosition, current_shard

# Forward passes that wait for a backward pass; of a model that never learns there is no end.
_MOST_WAITING = 1024


class StatisticsBuffer:
    """Takes the statistics of modules that have some and gives them the mean over the global batch.

    A shard's statistics weigh as much as its samples. A module called several times in a shard, or
    in several batches that are accumulated, counts with the sum of its calls by their weights. A
    forward pass counts with the next backward pass of its own shard of its batch, and not at all if
    none comes before gradients are summed: with another shard it would depend on the number of
    ranks, and with a later step a run that is resumed would have lost it.
    """

    def __init__(self, modules: Iterable[Module]) -> None:
        self.modules = [m for m in modules if m.statistics]
        layout = FlatLayout.of(getattr(m, n).shape for m in self.modules for n in m.statistics)
        slots = iter(layout.slots)
        self._slots = [{name: next(slots) for name in m.statistics} for m in self.modules]
        # The flags carry the weight with which each module took part.
        self.buffer = ShardedBuffer(layout.size, len(self.modules), "f4", "running statistics")
        # What was seen in a shard since its last backward: sums, and how many calls of each module.
        self._seen: dict[ShardPosition | None, tuple[Array, Array]] = {}
        self.skip_nonfinite = False
        """Leave the running statistics as they are when a batch's are NaN or infinite."""

    def watch(self) -> None:
        """Let the modules hand their statistics to this buffer."""
        for number, m in enumerate(self.modules):
            m._observer = partial(self._observe, number)

    def _observe(self, number: int, module: Module, statistics: Mapping[str, Array]) -> None:
        sums, calls = self._waiting(current_shard())
        for name, slot in self._slots[number].items():
            seen = slot.view(sums)
            seen += np.asarray(statistics[name], np.float32).reshape(slot.shape)
        calls[number] += 1

    def _waiting(self, position: ShardPosition | None) -> tuple[Array, Array]:
        found = self._seen.get(position)
        if found is None:
            if len(self._seen) == _MOST_WAITING:
                del self._seen[next(iter(self._seen))]
            calls = np.zeros(len(self.modules), np.int64)
            found = self._seen[position] = (np.zeros_like(self.buffer.local), calls)
        return found

    def open(self, shard: int, empty: bool) -> None:
        """Start from what ``shard`` has gathered in earlier batches: nothing, as a rule."""
        if self.modules and (empty or not self.buffer.take_up(shard)):
            self.buffer.local[...] = 0

    def gather(self, weight: float) -> None:
        """Add what was seen since the shard's last backward pass to its own, with its weight."""
        seen = self._seen.pop(current_shard(), None)
        if seen is None:
            return
        sums, counts = seen
        for number, calls in enumerate(counts.tolist()):
            if not calls:
                continue
            for slot in self._slots[number].values():
                gathered = slot.view(self.buffer.local)
                gathered += slot.view(sums) * (weight / calls)
            self.buffer.flags[number] += weight

    def finish(self) -> None:
        """Wait for the sums and apply them to every module that took part."""
        self._seen.clear()
        if not self.modules:
            return
        self.buffer.wait()
        for module, slots, weight in zip(self.modules, self._slots, self.buffer.flags, strict=True):
            sums = {name: slot.view(self.buffer.local) for name, slot in slots.items()}
            usable = not self.skip_nonfinite or all(np.isfinite(s).all() for s in sums.values())
            if weight > 0 and usable:
                module.apply_statistics({name: s / weight for name, s in sums.items()})
