"""Time and memory of forward and backward over chains of ops: both grow linearly with depth.

python benchmarks/depth.py
"""

from __future__ import annotations

import gc
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

from distgrad import Tensor

DEPTHS = (1_250, 2_500, 5_000, 10_000, 20_000, 40_000)


def once(depth: int) -> float:
    x = Tensor(np.ones(1024, np.float32), requires_grad=True)
    began = time.perf_counter()
    y = x
    for i in range(depth):
        y = np.sin(y) if i % 2 else y * 1.5
    y.sum().backward()
    return time.perf_counter() - began


def main() -> None:
    if len(sys.argv) == 2:
        gc.disable()
        empty = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = statistics.median(once(int(sys.argv[1])) for _ in range(7))
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - empty
        print(seconds, used / 1024)
        return
    print(f"{'ops':>7}  {'ms':>8}  {'µs an op':>9}  {'MiB':>7}  {'KiB an op':>9}")
    for depth in DEPTHS:
        command = [sys.executable, __file__, str(depth)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, mib = map(float, out.split())
        print(
            f"{depth:7}  {seconds * 1e3:8.1f}  {seconds / depth * 1e6:9.2f}  {mib:7.1f}  "
            f"{mib * 1024 / depth:9.2f}"
        )


if __name__ == "__main__":
    main()
