"""What must be equal on all ranks is compared: data, seeds, settings, and the weights themselves.

A rank with another learning rate or another data set would train on in silence. The facts are
compared before the first sum, soon after, and from then on at regular intervals.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from distgrad.autograd import stream
from distgrad.errors import DistgradError, MismatchError
from distgrad.nn import Module
from distgrad.parallel.shards import ShardPosition
from distgrad.parallel.world import World, gather_json

# Batches between two checks. One costs 0.1 to 0.2 ms and a read of all parameters.
EVERY = 64

_CURES = {
    "dg.manual_seed": "pass the same seed on every rank: inside a shard random numbers are keyed "
    "by the shard, outside by the rank, so that one seed gives different numbers",
    "parameter": "the weights of one rank were changed, or moved by another optimizer or learning "
    "rate; change them on every rank alike, or on rank 0 before DistributedDataParallel is made",
    "statistic": "the buffers of one rank were changed; change them on every rank alike",
    "module.training": "call train() and eval() on every rank",
    "optimizer": "build and change the optimizer alike on every rank (its schedule, too)",
}
_DATA = "every rank must iterate alike over a loader made alike over the same data"


class Agreement:
    """Compares facts of this rank with those of all others, at the same batches on every rank.

    ``every``: batches between two checks; before that also after 0, 1, 2, 4, 8, … batches. With 0
    nothing is compared. Errors: MismatchError naming the fact, the ranks, and their values.
    """

    def __init__(self, world: World, module: Module, every: int) -> None:
        if every < 0:
            raise DistgradError(f"check_every={every}: a number of batches, or 0 for no check")
        self.world, self.module, self.every = world, module, every
        self.sources: list[Callable[[], Mapping[str, Any]]] = []
        """What else is compared: functions that return facts by name."""
        self._optimizers: list[weakref.ref[Any]] = []
        self._batches = 0

    def also(self, optimizer: Any) -> None:
        """Compare the settings of ``optimizer`` as well, for as long as it lives."""
        if not any(known() is optimizer for known in self._optimizers):
            self._optimizers.append(weakref.ref(optimizer))

    def check(self, position: ShardPosition | None) -> None:
        """Compare, if it is time; called once a batch, at the same place on every rank."""
        n, self._batches = self._batches, self._batches + 1
        if self.every and (n % self.every == 0 or (n < self.every and n & (n - 1) == 0)):
            compare(self.world, self._facts(position))

    def _facts(self, position: ShardPosition | None) -> dict[str, Any]:
        facts: dict[str, Any] = {"dg.manual_seed": stream.seed.get()}
        if position is not None:
            facts |= {"step": position.step, "samples in the batch": position.total}
            facts |= {} if position.origin is None else position.origin()
        modes = [m.training for m in self.module.modules()]
        facts["module.training"] = modes[0] if len(set(modes)) == 1 else modes
        optimizers = [o for known in self._optimizers if (o := known()) is not None]
        for number, optimizer in enumerate(optimizers):
            facts |= _settings(f"optimizer {number} ({type(optimizer).__name__})", optimizer)
        for source in self.sources:
            facts |= source()
        for name, p in self.module.named_parameters():
            facts[f"parameter '{name}'"] = _digest(p.data)
        for name, module in self.module.named_modules():
            for statistic in module.statistics:
                value = getattr(module, statistic).data
                facts[f"statistic '{name}.{statistic}'".replace("'.", "'")] = _digest(value)
        return facts


def compare(world: World, facts: Mapping[str, Any]) -> None:
    """Compare ``facts`` by name with all ranks'. Errors: MismatchError; collective."""
    everyone = gather_json(world.comm, {k: json.dumps(v) for k, v in facts.items()})
    if all(theirs == everyone[0] for theirs in everyone):
        return
    for name in dict.fromkeys(k for theirs in everyone for k in theirs):
        ranks: dict[str, list[int]] = {}
        for rank, theirs in enumerate(everyone):
            ranks.setdefault(theirs.get(name, "nothing"), []).append(rank)
        if len(ranks) > 1:
            raise _mismatch(world, name, ranks)


def _mismatch(world: World, name: str, ranks: Mapping[str, list[int]]) -> MismatchError:
    values = [
        f"{_spelled(holders)} {'has' if len(holders) == 1 else 'have'} {value}"
        for value, holders in ranks.items()
    ]
    cure = next((text for start, text in _CURES.items() if name.startswith(start)), _DATA)
    return MismatchError(
        f"[rank {world.rank}/{world.size}] the ranks differ in {name}: {', '.join(values)}; {cure}"
    )


def _spelled(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if ranks[8:] else "")
    return f"rank {shown}" if len(ranks) == 1 else f"ranks {shown}"


def _settings(name: str, optimizer: Any) -> dict[str, Any]:
    """The numbers and words in an optimizer's groups."""
    found = {}
    for number, group in enumerate(optimizer.param_groups):
        for key, value in group.items():
            plain = value.item() if isinstance(value, np.generic) else value
            if plain is None or isinstance(plain, bool | int | float | str | tuple):
                found[f"{name}, group {number}, {key}"] = plain
    return found


def _digest(array: np.ndarray[Any, Any]) -> str:
    """Eight hexadecimal digits over all bits of an array, at the speed of memory."""
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flatten()
    words = flat.view(np.uint8)
    whole = len(words) // 4 * 4
    total = int(np.add.reduce(words[:whole].view(np.uint32), dtype=np.uint32))
    rest = int.from_bytes(words[whole:].tobytes(), "little")
    return f"{(total + rest) & 0xFFFFFFFF:08x}"
