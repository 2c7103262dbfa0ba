"""Functions that ``dg.launch`` calls on ranks."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

import distgrad as dg


def rank_sum(factor: int) -> list[float]:
    """Return the sum over the ranks of (rank + 1) * factor, and this rank."""
    world = dg.init()
    print(f"rank {world.rank} prints")
    total = np.array([(world.rank + 1.0) * factor])
    world.comm.all_reduce(total)
    return [float(total[0]), world.rank]


def fail_on(rank: int) -> None:
    """Raise on one rank, while the others wait for it."""
    world = dg.init()
    if world.rank == rank:
        raise KeyError(f"of rank {rank}")
    world.comm.barrier()


def a_lock() -> object:
    """Return what no process can hand to another."""
    return threading.Lock()


def leave() -> None:
    """End without a result."""
    raise SystemExit(0)


def wait(folder: str) -> None:
    """Say that this rank is ready, and wait."""
    world = dg.init()
    (Path(folder) / f"ready-{world.rank}").touch()
    try:
        time.sleep(60)
    finally:
        (Path(folder) / f"left-{world.rank}").touch()
