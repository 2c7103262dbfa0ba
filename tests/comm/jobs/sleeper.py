"""Rank 1 sleeps while rank 0 sends as much as it can; prints how much memory the sleeper gained.

Arguments: the all-reduce's name, how many are begun at once, and by whom: "sender" alone before
the sleep, or "both". All of them are over messages.
"""

import sys
import time
from pathlib import Path

import numpy as np

from distgrad.comm import Communicator, connect

MIB = 1 << 20


def resident():
    """MiB of memory of this process that are not of a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


algorithm, begun, who = sys.argv[1], int(sys.argv[2]), sys.argv[3]
transport = connect()
transport.place = f"alone {transport.rank}"
comm = Communicator(transport)
arrays = [np.full(MIB // 4, comm.rank + 1.0, "f4") for _ in range(begun)]
warm = np.ones(MIB // 4, "f4")
comm.all_reduce(warm, algorithm=algorithm)
comm.barrier()


def begin():
    names = enumerate(arrays)
    return [comm.start_all_reduce(a, algorithm=algorithm, name=str(i)) for i, a in names]


works = begin() if comm.rank == 0 or who == "both" else []
before = resident()
if comm.rank == 1:
    time.sleep(1.0)
else:
    until = time.perf_counter() + 1.0
    while time.perf_counter() < until:
        for work in works:
            work.poll()
if comm.rank == 1 and who == "sender":
    works = begin()
for work in works:
    work.wait()
for array in arrays:
    assert (array == 3).all()
if comm.rank == 1:
    print("gained", resident() - before)
