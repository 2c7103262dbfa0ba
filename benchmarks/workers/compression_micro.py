"""Time one call of each hook on a bucket of 4 MiB, from the gradients to their sum."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import numpy as np

import distgrad as dg
from distgrad import nn
from distgrad.parallel import hooks
from distgrad.parallel.exchange import exchange_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    os.environ["DISTGRAD_TUNING"] = "off"  # what a user has tuned here is not what is measured
    world = dg.init(threads=1)
    gradient = np.random.default_rng(world.rank).standard_normal(1 << 20).astype(np.float32)
    used: dict[str, tuple[Any, Any]] = {
        "allreduce": (hooks.allreduce_hook, None),
        "fp16": (hooks.fp16_compress_hook, None),
        "bf16": (hooks.bf16_compress_hook, None),
        "int8": (hooks.int8_compress_hook, hooks.Int8State()),
        "topk 1 %": (hooks.topk_hook, hooks.TopKState(0.01)),
        "powerSGD 1": (hooks.powerSGD_hook, hooks.PowerSGDState(None, 1, 0)),
        "powerSGD 2": (hooks.powerSGD_hook, hooks.PowerSGDState(None, 2, 0)),
        "powerSGD 4": (hooks.powerSGD_hook, hooks.PowerSGDState(None, 4, 0)),
        "batched 2": (hooks.batched_powerSGD_hook, hooks.PowerSGDState(None, 2, 0)),
    }
    world.print(f"one 4 MiB bucket (1024 x 1024), {world.size} ranks, median ms:")
    for name, (hook, state) in used.items():
        model = nn.Linear(1024, 1024, bias=False)
        ddp = dg.DistributedDataParallel(model)
        ddp.register_comm_hook(state, hook)
        buffer = ddp.reducer.buckets[0].gradients
        exchange = exchange_of(world, world.shards, ddp.algorithm)
        times = []
        for _ in range(repeats + 3):
            buffer.local[: gradient.size] = gradient
            world.comm.barrier()
            start = time.perf_counter()
            buffer.add(exchange, world.my_shards[0])
            buffer.start(exchange)
            buffer.wait()
            times.append((time.perf_counter() - start) * 1e3)
        world.print(f"  {name:12} {statistics.median(times[3:]):7.2f}")


if __name__ == "__main__":
    main()
