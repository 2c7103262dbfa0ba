"""A training in which rank 0 has a core and the others share another one: shared_core.py FOLDER.

Rank 2 is given two threads. It leaves FOLDER/run and FOLDER/timeline.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import launchers
from distgrad.nn import functional as F

STEPS = 30  # more than the second below which nobody is accused
folder = Path(sys.argv[1])
first, second, *_ = sorted(os.sched_getaffinity(0))
started = launchers.started(os.environ)
os.sched_setaffinity(0, [second if started and started.rank else first])
if started and started.rank == 2:
    os.environ["OPENBLAS_NUM_THREADS"] = "2"
world = dg.init()
dg.manual_seed(1)
work = np.linspace(0, 1, 50_000)


def criterion(output, target):
    # 30 ms of a core. What else this machine does may not touch rank 0's.
    if world.rank == 0:
        time.sleep(0.03)
    else:
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            np.sin(work)
    return F.cross_entropy(output, target)


rng = np.random.default_rng(0)
data = dg.data.ArrayDataset(rng.normal(size=(24, 8)).astype(np.float32), rng.integers(0, 3, 24))
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
optimizer = optim.SGD(model.parameters(), lr=0.1)
with dg.observe.profile(folder / "timeline"):
    trainer = dg.Trainer(model, optimizer, criterion, run=folder / "run")
    trainer.fit(dg.data.DataLoader(data, 24), max_steps=STEPS)
