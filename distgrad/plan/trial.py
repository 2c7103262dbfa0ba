"""What runs on every rank to check a plan: the costs of the wire, a profile, and real steps."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Communicator, gather_json
from distgrad.comm.tuning import VARIABLE as TUNING
from distgrad.nn import Module
from distgrad.parallel.ddp import DistributedDataParallel
from distgrad.parallel.world import World, init
from distgrad.plan.model import load, small, updating
from distgrad.plan.profile import measure

SIZES = (1 << 12, 1 << 16, 1 << 20, 1 << 22)
"""Bytes of the sums that are timed; the last is a bucket."""
ROUNDS = 5
Make = Callable[[], tuple[Module, Callable[[], Tensor] | None]]


def main() -> None:
    """Run the trial that the command line describes; rank 0 prints what came out as JSON."""
    options = json.loads(sys.argv[1])
    os.environ[TUNING] = "off"  # the plan has the buckets of the defaults
    world = init(threads=1)
    model = options["model"]
    make: Make = small if model is None else lambda: load(model)
    found = trial(world, make, options["optimizer"], options["settings"], options["steps"])
    if world.rank == 0:
        print(json.dumps(found), flush=True)


def trial(
    world: World,
    make: Make,
    optimizer: str,
    settings: Sequence[dict[str, Any]],
    steps: int,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Return the costs and, of each round, the profile and seconds of a step with each setting.

    The profile is taken on all ranks at once, in a world of one each: with what the ranks of a node
    cost each other, and without a word between them. It and the steps take turns, so that what else
    the machine does meets both.
    """
    costs = wire(world.comm) if world.size > 1 else {}
    alone = World(_not_none(world.comm.split(world.rank)), None)
    silent = _Training(alone, make, optimizer, {})
    talking = [_Training(world, make, optimizer, chosen) for chosen in settings]
    found = []
    for _ in range(rounds):
        world.comm.barrier()
        profile = measure(silent.model, silent.loss, silent.update, steps=steps)
        taken = []
        for training in talking:
            world.comm.barrier()
            taken.append(training.seconds(steps))
        # In each step all wait for the slowest, which is another one each time.
        everyone = zip(*gather_json(world.comm, profile.times, "times of steps"), strict=True)
        slowest = statistics.median(map(max, everyone)) / statistics.median(profile.times)
        found.append({"profile": asdict(profile), "slowest": slowest, "steps": taken})
    sizes = [len(ranks) for ranks in world.comm.topology.nodes]
    return {"costs": costs, "nodes": sizes, "rounds": found}


class _Training:
    """A model in a world, and what a step of it is."""

    def __init__(self, world: World, make: Make, optimizer: str, settings: dict[str, Any]) -> None:
        self.model, loss = make()
        self.loss: Callable[[], Tensor] = _not_none(loss)
        self.ddp = DistributedDataParallel(self.model, world=world, **settings)
        self.update = updating(self.model, optimizer)

    def seconds(self, steps: int) -> float:
        """Return the median of so many steps, after one that does not count."""
        self._step()
        return _median(self._step, steps)

    def _step(self) -> None:
        self.loss().backward()
        self.update()


def wire(comm: Communicator) -> dict[str, Any]:
    """Return (bytes, seconds) of sums: the ring's, and those in shared memory where there is any;
    and the seconds to add a byte.
    """
    timed = {"ring": [_timed_sum(comm, np.zeros(n // 4, np.float32), "ring") for n in SIZES]}
    shared = comm.share([(n // 4, np.dtype(np.float32), 1) for n in SIZES])
    if shared is not None and comm.topology.one_node:
        timed["shared"] = [_timed_sum(comm, array.own, "shared") for array in shared]
    comm.barrier()
    a, b = np.zeros((2, 1 << 16), np.float32)
    return {"sums": timed, "gamma": _median(lambda: np.add(a, b, out=a), 50) / a.nbytes}


def _timed_sum(comm: Communicator, array: Array, algorithm: str) -> tuple[int, float]:
    def once() -> None:
        comm.all_reduce(array, algorithm=algorithm, name=f"{algorithm} {array.nbytes}")

    once()
    comm.barrier()
    # Agreed, so that all ranks make as many.
    first = np.array([_median(once, 3)])
    comm.all_reduce(first, op="max")
    return array.nbytes, _median(once, int(min(50, max(5, 0.3 / first[0]))))


def _median(work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _not_none(value: Any) -> Any:
    assert value is not None
    return value
