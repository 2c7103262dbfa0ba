"""Time one distgrad training step (forward, backward, reduction, clipping, AdamW); print JSON.

With --transfer what such a step sends is timed by itself, all at once and with nothing computed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

import numpy as np
from workloads import WORKLOADS

import distgrad as dg
from distgrad import optim
from distgrad.nn import functional as F
from distgrad.parallel.compiled import compile_sums
from distgrad.parallel.exchange import exchange_of

parser = argparse.ArgumentParser()
parser.add_argument("workload", choices=list(WORKLOADS))
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--bucket-mb", type=float)
parser.add_argument("--zero", type=int, default=0, help="share parameters out over the ranks")
parser.add_argument("--free", action="store_true", help="no barrier before a step: waits count")
parser.add_argument("--transfer", action="store_true", help="send only, and compute nothing")
parser.add_argument("--meet", action="store_true", help="no sums: ranks meet once a step")
parser.add_argument("--alone", type=int, metavar="R", help="be rank R's control: talk to nobody")
args = parser.parse_args()

os.environ["DISTGRAD_TUNING"] = "off"  # what a user has tuned here is not what is measured
world = dg.init(threads=1) if args.alone is None else None
rank = world.rank if world else args.alone
build, batch = WORKLOADS[args.workload]
model, x, y = build(np.random.default_rng(rank), batch)
optimizer = optim.AdamW(model.parameters(), lr=1e-4)
settings = {"bucket_mb": args.bucket_mb} if args.bucket_mb else {}
talks = world is not None and not args.meet
ddp = dg.DistributedDataParallel(model, zero=args.zero, **settings) if talks else None
if args.meet:
    compile_sums(world.comm)  # as DistributedDataParallel does: the meeting is one compiled call
    meeting = world.comm.know_barrier("a step is over")


def transfer() -> None:
    """Sum all buckets over the ranks; with ``zero`` own slices, then values come back."""
    exchange = exchange_of(world, world.size, ddp.algorithm)
    works = []
    for bucket in ddp.reducer.buckets:
        sums, name = bucket.gradients.local, bucket.gradients.name
        parts = [(0, rank, sums)]
        if bucket.share is None:
            works.append(exchange.start(parts, sums, name))
        else:
            works.append(exchange.scatter(parts, sums, bucket.share.summed, name))
    for work in works:
        work.wait()
    if ddp.shares is not None:
        moved = [(s.values, s.slices, s.name) for s in reversed(ddp.shares.buckets)]
        for work in ddp.shares.memory.start(moved):
            work.wait()


def step() -> None:
    """Do one step of training."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    if ddp:
        ddp.backward(loss)
    else:
        loss.backward()
    if args.meet:
        meeting.at_once().wait()
    dg.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


timed = transfer if args.transfer else step
times = []
for i in range(args.steps + 3):
    if world and not args.free:
        world.comm.barrier()
    start = time.perf_counter()
    timed()
    if i >= 3:
        times.append((time.perf_counter() - start) * 1e3)
if rank == 0 or args.free or world is None:
    print(json.dumps({"ms": statistics.median(times)}))
