"""What a call of each collective costs, in microseconds: 8 doubles on a rank, the best of rounds.

Alone it measures a world of one rank (Python's part alone, in CPU time, which other processes
hardly change) and two simulated ranks, under mpirun the ranks there are, waits and messages
included:

python benchmarks/verbs.py
mpirun -n 2 python benchmarks/verbs.py
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import numpy as np

import distgrad as dg
from distgrad import distributed as dist
from distgrad.comm import run_ranks
from distgrad.distributed.nn import functional as DF

COUNT = 8
Calls = dict[str, Callable[[], Any]]


def calls(rank: int, size: int) -> Calls:
    """Every verb by the name it is called by."""
    comm = dg.init().comm
    a, whole = np.ones(COUNT), np.ones(COUNT * size)
    each = [np.ones(COUNT) for _ in range(size)]
    places = [np.ones(COUNT) for _ in range(size)]
    left, right = (rank - 1) % size, (rank + 1) % size
    tensor = dg.Tensor(np.ones(COUNT), requires_grad=True)

    def around() -> None:
        work = comm.start_send(a, right)
        comm.recv(a.copy(), left)
        work.wait()

    def dist_around() -> None:
        work = dist.isend(a, right)
        dist.recv(a.copy(), left)
        work.wait()

    return {
        "comm.barrier": comm.barrier,
        "comm.all_reduce": lambda: comm.all_reduce(a),
        "comm.all_reduce max": lambda: comm.all_reduce(a, op="max"),
        "comm.all_reduce mean": lambda: comm.all_reduce(a, op="mean"),
        "comm.reduce": lambda: comm.reduce(a),
        "comm.reduce_scatter": lambda: comm.reduce_scatter(whole),
        "comm.broadcast": lambda: comm.broadcast(a),
        "comm.all_gather": lambda: comm.all_gather(whole),
        "comm.all_gather_arrays": lambda: comm.all_gather_arrays(a),
        "comm.gather": lambda: comm.gather(a),
        "comm.scatter": lambda: comm.scatter(each),
        "comm.all_to_all": lambda: comm.all_to_all(each),
        "comm.send and recv": around,
        "dist.barrier": dist.barrier,
        "dist.all_reduce": lambda: dist.all_reduce(a),
        "dist.all_reduce max": lambda: dist.all_reduce(a, dist.ReduceOp.MAX),
        "dist.reduce": lambda: dist.reduce(a),
        "dist.reduce_scatter": lambda: dist.reduce_scatter(a, each),
        "dist.reduce_scatter_tensor": lambda: dist.reduce_scatter_tensor(a, whole),
        "dist.broadcast": lambda: dist.broadcast(a),
        "dist.all_gather": lambda: dist.all_gather(places, a),
        "dist.all_gather_into_tensor": lambda: dist.all_gather_into_tensor(whole, a),
        "dist.gather": lambda: dist.gather(a, places if rank == 0 else None),
        "dist.scatter": lambda: dist.scatter(a, each if rank == 0 else None),
        "dist.all_to_all": lambda: dist.all_to_all(places, each),
        "dist.all_to_all_single": lambda: dist.all_to_all_single(whole, whole.copy()),
        "dist.isend and recv": dist_around,
        "nn.functional.all_reduce, array": lambda: DF.all_reduce(a),
        "nn.functional.all_reduce, Tensor": lambda: DF.all_reduce(tensor),
        "nn.functional.all_gather, Tensor": lambda: DF.all_gather(tensor),
    }


def measured(rounds: int, number: int) -> dict[str, float]:
    """Return microseconds by name; ranks take the same calls."""
    world = dg.init()
    clock = process_time if world.size == 1 else perf_counter
    found = {}
    for name, call in calls(world.rank, world.size).items():
        call()
        best = float("inf")
        for _ in range(rounds):
            world.comm.barrier()
            since = clock()
            for _ in range(number):
                call()
            best = min(best, clock() - since)
        found[name] = best / number * 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--number", type=int, default=200, help="calls in a round")
    settings = parser.parse_args()
    os.environ["DISTGRAD_TUNING"] = "off"  # what a user has tuned here is not what is measured
    world = dg.init()
    columns = {f"{world.size} {world.comm.transport.name}": measured(**vars(settings))}
    if world.size == 1:
        columns["2 simulated"] = run_ranks(2, lambda: measured(**vars(settings)))[0]
    if world.rank == 0:
        print("us per call".ljust(36), *(name.rjust(12) for name in columns))
        for name in next(iter(columns.values())):
            print(name.ljust(36), *(f"{column[name]:12.1f}" for column in columns.values()))


if __name__ == "__main__":
    main()
