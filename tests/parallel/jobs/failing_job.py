"""A training in which the ranks fall apart in a known way, under a stage of sharding."""

from __future__ import annotations

import argparse

import numpy as np
from jobs import fell

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--what")
parser.add_argument("--zero", type=int)
args = parser.parse_args()

world = dg.init()
odd = world.rank == world.size - 1
names = ["a", "b"]
if args.what == "order" and odd:
    names.reverse()
    fell()
model = nn.Module()
for name in names:
    setattr(model, name, nn.Linear(4, 4))
ddp = dg.DistributedDataParallel(model, zero=args.zero, bucket_mb=1e-5)
optimizer = optim.SGD(model.parameters(), lr=0.1)
x, y = np.ones((3, 4), np.float32), np.arange(3)
for step in range(3):
    if args.what == "batches" and odd and step == 2:
        fell()
        break
    h = model.a(x)
    if not (args.what == "gradient" and odd):
        h = h + model.b(x)
    ddp.backward(F.cross_entropy(h, y))
    optimizer.step()
    optimizer.zero_grad()
    if args.what == "rank 0" and world.rank == 0:
        fell()
        with dg.no_grad():
            model.a(x)  # its own weights may be read by a rank alone
        dg.ShardSum(world, "loss of rank 0's evaluation").result()
world.print("RESULT", nn.state_sha256(model.state_dict()))
