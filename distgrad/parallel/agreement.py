"""What must be equal on all ranks is compared: data, seeds, settings, and the weights themselves.

A rank with another learning rate or another data set would train on in silence. The facts are
compared before the first sum, soon after, and from then on at regular intervals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from distgrad.autograd import stream
from distgrad.autograd.tensor import Tensor
from distgrad.comm import gather_json
from distgrad.errors import DistgradError, MismatchError
from distgrad.nn import Module
from distgrad.parallel.shards import ShardPosition, current_shard
from distgrad.parallel.world import World

# Batches between two checks. One costs 0.1 to 0.2 ms and a read of all parameters.
EVERY = 64

_CURES = {
    "dg.manual_seed": "pass the same seed on every rank: inside a shard random numbers are keyed "
    "by the shard, outside by the rank, so that one seed gives different numbers",
    "parameter": "the weights of one rank were changed, or moved by another optimizer or learning "
    "rate; change them on every rank alike, or on rank 0 before DistributedDataParallel is made",
    "statistic": "the buffers of one rank were changed; change them on every rank alike",
    "module.training": "call train() and eval() on every rank",
    "Trainer": "make the Trainer with the same settings on every rank",
    "DistributedDataParallel": "make it with the same settings on every rank",
    "register_comm_hook": "register the same hook with the same settings on every rank",
    "optimizer": "build and change the optimizer alike on every rank (its schedule, too)",
    "DataLoader samples": "samplers and streams give every rank the same, of which the loader "
    "takes the rank's part: do not cut them by rank, or use dg.data.DistributedSampler",
    "the loss": "the optimizer decides by it, so the closure must return that of the global batch: "
    "add each shard's to a dg.ShardSum and return its result()",
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
        self.after_check: list[Callable[[], None]] = []
        """Called once a batch, at the same place on every rank, so collectives are allowed."""
        self.same_weights = True
        """Off while each rank trains weights of its own (local SGD)."""
        self._stepped: dict[int, dict[str, Any]] = {}
        self._batches = 0
        self.due = every > 0
        """Whether the next batch's facts are compared."""

    def optimizer_stepped(self, optimizer: Any) -> None:
        """Note the settings ``optimizer`` has moved the parameters with; wanted for what is due.

        Its settings, not the optimizer: ranks need not forget a dropped one at the same time.
        """
        known = [*self._stepped]
        number = known.index(id(optimizer)) if id(optimizer) in known else len(known)
        self._stepped[id(optimizer)] = settings_of(number, optimizer)

    def check(self) -> None:
        """Compare, if it is time; called once a batch, at the same place on every rank."""
        if self.due:
            compare(self.world, self._facts(current_shard()))
        self._batches += 1
        n, every = self._batches, self.every
        self.due = every > 0 and (n % every == 0 or (n < every and n & (n - 1) == 0))
        for listener in self.after_check:
            listener()

    def compare_now(self, facts: Mapping[str, Any]) -> None:
        """Compare ``facts`` at once, whatever is due; collective."""
        if self.every:
            compare(self.world, facts)

    def _facts(self, position: ShardPosition | None) -> dict[str, Any]:
        facts: dict[str, Any] = {"dg.manual_seed": stream.seed.get()}
        if position is not None:
            facts |= {"step": position.step, "samples in the batch": position.total}
            facts |= {} if position.origin is None else position.origin()
        modes = [m.training for m in self.module.modules()]
        facts["module.training"] = modes[0] if len(set(modes)) == 1 else modes
        for settings in self._stepped.values():
            facts |= settings
        self._stepped.clear()
        for source in self.sources:
            facts |= source()
        return facts | self._weights() if self.same_weights else facts

    def _weights(self) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for name, p in self.module.named_parameters():
            facts[f"parameter '{name}'"] = _digest(p.array)
        for name, module in self.module.named_modules():
            for statistic in module.statistics:
                value = getattr(module, statistic).array
                facts[f"statistic '{name}.{statistic}'".replace("'.", "'")] = _digest(value)
        return facts


def compare(world: World, facts: Mapping[str, Any]) -> None:
    """Compare ``facts`` by name with all ranks'. Errors: MismatchError; collective."""
    spelled = {k: json.dumps(v, default=_plain) for k, v in facts.items()}
    everyone = gather_json(world.comm, spelled, "what must be equal on all ranks")
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


def settings_of(number: int, optimizer: Any) -> dict[str, Any]:
    """Return the numbers and words in the groups of ``optimizer``, by name."""
    named = {
        f"optimizer {number} ({type(optimizer).__name__}), group {i}, {key}": value
        for i, group in enumerate(optimizer.param_groups)
        for key, value in group.items()
    }
    # A learning rate may be a Tensor.
    plain = {k: v.array.tolist() if isinstance(v, Tensor) else v for k, v in named.items()}
    return {
        k: v
        for k, v in plain.items()
        if v is None or isinstance(v, bool | int | float | str | tuple | np.generic)
    }


def _plain(value: Any) -> Any:
    """A NumPy number, as a learning rate or a seed may be, as Python's; the rest by its type."""
    return value.item() if isinstance(value, np.generic) else type(value).__name__


def _digest(array: np.ndarray[Any, Any]) -> str:
    """Eight hexadecimal digits over all bits of an array, at the speed of memory."""
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flatten()
    words = flat.view(np.uint8)
    whole = len(words) // 4 * 4
    total = int(np.add.reduce(words[:whole].view(np.uint32), dtype=np.uint32))
    rest = int.from_bytes(words[whole:].tobytes(), "little")
    return f"{(total + rest) & 0xFFFFFFFF:08x}"
