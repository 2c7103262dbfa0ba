"""Two trainings with a run folder each: rank 1 computes slowly in one, rank 2 reads so in one.

reported.py FOLDER
"""

import sys
import time
from pathlib import Path

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

STEPS = 30  # more than the second below which nobody is accused
world = dg.init(shards=4)
rng = np.random.default_rng(0)
x = rng.normal(size=(24, 8)).astype(np.float32)
y = rng.integers(0, 3, 24)


class SlowToRead(dg.data.ArrayDataset):
    def __getitem__(self, index):
        if world.rank == 2:
            time.sleep(0.005)
        return super().__getitem__(index)


def criterion(output, target):
    # Everyone works a while, so that what a busy machine adds is little.
    time.sleep(0.01)
    return F.cross_entropy(output, target)


def slow_criterion(output, target):
    time.sleep(0.04 if world.rank == 1 else 0)
    return criterion(output, target)


for name, data, loss in (
    ("computes", dg.data.ArrayDataset(x, y), slow_criterion),
    ("reads", SlowToRead(x, y), criterion),
):
    dg.manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    trainer = dg.Trainer(
        model,
        optim.SGD(model.parameters(), lr=0.1),
        loss,
        metrics={"accuracy": dg.accuracy},
        callbacks=[dg.GradientHealth(model, every=5)],
        run=Path(sys.argv[1], name),
        log_every=1,
        progress=False,
    )
    held_out = dg.data.DataLoader(dg.data.ArrayDataset(x, y), 24)
    trainer.fit(dg.data.DataLoader(data, 24), max_steps=STEPS, evaluate=held_out, evaluate_every=10)
