"""A training with a run folder, on any number of ranks: recorded.py FOLDER LAST [FALLS] [--resume].

Rank 1 kills itself after step FALLS; a checkpoint is written every 20 steps.
"""

import os
import signal
import sys

import training

import distgrad as dg
from distgrad import nn, optim

numbers = [int(word) for word in sys.argv[2:] if word.isdecimal()]
last, falls = numbers[0], numbers[1] if numbers[1:] else 0

world = dg.init(shards=4)
dg.manual_seed(3)
model, data, loss_fn = training.build("mlp")
optimizer = optim.AdamW(model.parameters(), lr=3e-3)
loader = dg.data.DataLoader(data, 30, shuffle=True, seed=11)  # 7 steps an epoch


def fall(state):
    if state.step == falls and world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)


trainer = dg.Trainer(
    model,
    optimizer,
    loss_fn,
    schedule=optim.WarmupCosineLR(optimizer, 5, 60),
    clip_norm=1.0,
    metrics={"accuracy": dg.accuracy},
    run=sys.argv[1],
    log_every=1,
    every=20,
    callbacks=[fall],
    progress=False,
)
trainer.fit(loader, max_steps=last, resume="--resume" in sys.argv)
world.print("RESULT", nn.state_sha256(model.state_dict()))
