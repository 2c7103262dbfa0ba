"""A training in which every rank stays at a moment of step 3 until somebody has pressed Ctrl-C.

interrupted.py FOLDER MOMENT [--resume] [--nowhere]: each rank writes FOLDER/ready-RANK at the
moment, and goes on when Ctrl-C has reached it. Ends with the SHA-256 of what it has trained.
"""

import sys
import time
from pathlib import Path

import numpy as np
import training

import distgrad as dg
from distgrad import nn, optim

FOLDER, MOMENT = Path(sys.argv[1]), sys.argv[2]
LAST = 6

world = dg.init(shards=4)
dg.manual_seed(3)
model, data, loss_fn = training.build("mlp")
optimizer = optim.AdamW(model.parameters(), lr=3e-3)


class Loaded(dg.data.Dataset):
    """Is loaded while somebody presses Ctrl-C."""

    def __len__(self):
        return len(data)

    def __getitem__(self, i):
        at("loading", 2)
        return data[i]


loader = dg.data.DataLoader(Loaded(), 40, shuffle=True, seed=11)  # 5 steps an epoch


def at(moment, step):
    if moment != MOMENT.replace("stuck", "step") or trainer.state.step != step:
        return
    (FOLDER / f"ready-{world.rank}").touch()
    while MOMENT == "stuck" or not any(trainer._requests.own().values()):
        time.sleep(0.01)


def loss(output, target):
    at("step" if model.training else "evaluation", 2 if model.training else 3)
    at("first step", 0)
    return loss_fn(output, target)


def callback(state):
    # Only rank 0 writes: the others are ready when they wait for it.
    if MOMENT in ("saving", "last save") and world.rank:
        at(MOMENT, LAST if MOMENT == "last save" else 3)


class Slow:
    """Is saved while somebody presses Ctrl-C."""

    def state_dict(self):
        at("saving", 3)
        at("last save", LAST)
        return {}

    def load_state_dict(self, state):
        pass


trainer = dg.Trainer(
    model,
    optimizer,
    loss,
    checkpoint=None if "--nowhere" in sys.argv else str(FOLDER / "run"),
    every=3,
    also_saved={"slow": Slow()},
    callbacks=[callback],
    progress=False,
)
evaluation = dg.data.DataLoader(dg.data.Subset(data, np.arange(40)), 40)
trainer.fit(
    loader,
    max_steps=LAST,
    evaluate=evaluation,
    evaluate_every=3,
    resume="--resume" in sys.argv,
)
world.print("RESULT", trainer.state.step, nn.state_sha256(model.state_dict()))
