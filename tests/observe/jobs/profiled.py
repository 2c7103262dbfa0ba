"""A short training under a profile: ``profiled.py FOLDER WHAT RANK``, of which RANK is slow.

WHAT is sleep (in a module), data, or threads (half of the others'). Prints the summary as JSON.
"""

import json
import sys
import time

import numpy as np
from threadpoolctl import threadpool_limits

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

folder, what, culprit = sys.argv[1], sys.argv[2], int(sys.argv[3])
world = dg.init()
dg.manual_seed(1)
slow = world.rank == culprit
if what == "threads":
    threadpool_limits(limits=1 if slow else 2, user_api="blas")


class Sleepy(nn.Module):
    def forward(self, x):
        # Everyone works a while, so that what a busy machine adds is little.
        time.sleep(0.06 if slow and what in {"sleep", "threads"} else 0.02)
        return x


class Data(dg.data.ArrayDataset):
    def __getitem__(self, index):
        time.sleep(0.005 if slow and what == "data" else 0.0)
        return super().__getitem__(index)


model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), Sleepy(), nn.Linear(16, 3))
optimizer = optim.SGD(model.parameters(), lr=0.1)
rng = np.random.default_rng(0)
data = Data(rng.normal(size=(192, 8)).astype(np.float32), rng.integers(0, 3, 192))
loader = dg.data.DataLoader(data, 24)
ddp = dg.DistributedDataParallel(model)
with dg.observe.profile(folder, last=20) as profile:
    for _ in range(3):
        for batch in loader:
            optimizer.zero_grad()
            for x, y in batch.shards:
                ddp.backward(F.cross_entropy(model(x), y))
            dg.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
if world.rank == 0:
    print(json.dumps({"summary": profile.summary()}))
