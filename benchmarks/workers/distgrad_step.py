"""Time one distgrad training step (forward, backward, reduction, clipping, AdamW); print JSON."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
import models
import numpy as np


def mlp(rng: Any, n: int) -> tuple[nn.Module, Any, Any]:
    layers: list[nn.Module] = []
    for a, b in ((784, 1024), (1024, 1024), (1024, 1024)):
        layers += [nn.Linear(a, b), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(1024, 10))
    return model, rng.normal(size=(n, 784)).astype(np.float32), rng.integers(0, 10, n)


def cnn(rng: Any, n: int) -> tuple[nn.Module, Any, Any]:
    def conv(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

    model = nn.Sequential(
        *conv(3, 32),
        *conv(32, 32),
        nn.MaxPool2d(2),
        *conv(32, 64),
        *conv(64, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 8 * 8, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )
    return model, rng.normal(size=(n, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, n)


def gpt(rng: Any, n: int) -> tuple[nn.Module, Any, Any]:
    model = models.GPT(65, 256, layers=6, heads=6, width=384)
    tokens = rng.integers(0, 65, (n, 257))
    return model, tokens[:, :-1], tokens[:, 1:].reshape(-1)


def small(rng: Any, n: int) -> tuple[nn.Module, Any, Any]:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return model, rng.normal(size=(n, 64)).astype(np.float32), rng.integers(0, 10, n)


WORKLOADS = {"mlp": (mlp, 128), "cnn": (cnn, 64), "gpt": (gpt, 4), "small": (small, 32)}

parser = argparse.ArgumentParser()
parser.add_argument("workload", choices=list(WORKLOADS))
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--bucket-mb", type=float)
parser.add_argument("--free", action="store_true", help="no barrier before a step: waits count")
parser.add_argument("--alone", type=int, metavar="R", help="be rank R's control: talk to nobody")
args = parser.parse_args()

world = dg.init(threads=1) if args.alone is None else None
rank = world.rank if world else args.alone
build, batch = WORKLOADS[args.workload]
model, x, y = build(np.random.default_rng(rank), batch)
optimizer = optim.AdamW(model.parameters(), lr=1e-4)
settings = {"bucket_mb": args.bucket_mb} if args.bucket_mb else {}
ddp = dg.DistributedDataParallel(model, **settings) if world else None
times = []
for i in range(args.steps + 3):
    if world and not args.free:
        world.comm.barrier()
    start = time.perf_counter()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    if ddp:
        ddp.backward(loss)
    else:
        loss.backward()
    dg.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if i >= 3:
        times.append((time.perf_counter() - start) * 1e3)
if rank == 0 or args.free or world is None:
    print(json.dumps({"ms": statistics.median(times)}))
