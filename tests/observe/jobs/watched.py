"""A training that somebody watches: it is slow from step 20 on, until there is FOLDER/go.

watched.py FOLDER [--short] [--save] [--resume]: at step 10 every rank prints, at step 20 rank 0
writes FOLDER/ready.
"""

import sys
import time
from pathlib import Path

import training

import distgrad as dg
from distgrad import optim

FOLDER = Path(sys.argv[1])

world = dg.init(shards=4)
dg.manual_seed(3)
model, data, loss_fn = training.build("mlp")
loader = dg.data.DataLoader(data, 40, shuffle=True, seed=11)  # 5 steps an epoch


def callback(state):
    if state.step == 10:
        print(f"rank {world.rank} prints", flush=True)
        print(f"rank {world.rank} warns", file=sys.stderr)
    if state.step >= 20 and not (FOLDER / "go").exists():
        if world.rank == 0:
            (FOLDER / "ready").touch()
        time.sleep(0.2)


trainer = dg.Trainer(
    model,
    optim.AdamW(model.parameters(), lr=3e-3),
    loss_fn,
    metrics={"accuracy": dg.accuracy},
    callbacks=[callback],
    checkpoint=str(FOLDER / "run") if "--save" in sys.argv else None,
)
trainer.fit(
    loader,
    epochs=4 if "--short" in sys.argv else 40,
    evaluate=dg.data.DataLoader(data, 40),
    evaluate_every=15,
    resume="--resume" in sys.argv,
)
