"""A short training in which one rank (or none: -1) is slow: ``sleepy.py HOW RANK [STEPS]``.

HOW is ddp, trainer or local; data, where reading data is what is slow; or cores, where the slow
rank has one.
"""

import os
import sys
import time

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.observe import TimeSplit

how, culprit = sys.argv[1], int(sys.argv[2])
world = dg.init()
dg.manual_seed(1)
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
optimizer = optim.SGD(model.parameters(), lr=0.1)
rng = np.random.default_rng(0)
STEPS = (
    int(sys.argv[3]) if sys.argv[3:] else 60 if culprit < 0 else 30
)  # more than the second below which nobody is accused


def criterion(output, target):
    # Everyone works a while, so that what a busy machine adds is little.
    time.sleep(0.06 if world.rank == culprit and how != "data" else 0.02)
    return F.cross_entropy(output, target)


class Data(dg.data.ArrayDataset):
    def __getitem__(self, index):
        if how == "data" and world.rank == culprit:
            time.sleep(0.005)
        return super().__getitem__(index)


if how == "cores" and world.rank == culprit:
    os.sched_setaffinity(0, [*os.sched_getaffinity(0)][:1])
x = rng.normal(size=(24, 8)).astype(np.float32)
y = rng.integers(0, 3, 24)
if how == "trainer":
    loader = dg.data.DataLoader(dg.data.ArrayDataset(x, y), 24)
    trainer = dg.Trainer(model, optimizer, criterion)
    trainer.fit(loader, max_steps=STEPS)
    if world.rank == 0:
        print(trainer.time_split.table() if trainer.time_split else "no split")
    sys.exit()
ddp = dg.DistributedDataParallel(model)
if how == "local":
    optimizer = dg.parallel.DiLoCo(ddp, optimizer, every=10)
loader = dg.data.DataLoader(Data(x, y), 24)
with TimeSplit(ddp) as split:
    for _ in range(STEPS):
        for batch in loader:
            optimizer.zero_grad()
            for a, b in batch.shards:
                ddp.backward(criterion(ddp(a), b))
            optimizer.step()
if world.rank == 0:
    print(split.summary())
    print(split.table())
