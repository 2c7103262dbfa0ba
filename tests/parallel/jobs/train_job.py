"""A training that can be killed, or made to raise, at a given step and rank; prints its SHA-256."""

from __future__ import annotations

import argparse
import os
import signal
from typing import Any

import training
from jobs import fell

import distgrad as dg
from distgrad import nn, optim

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="mlp")
parser.add_argument("--checkpoint")
parser.add_argument("--resume", action="store_true")
parser.add_argument("--at", type=int, default=-1, help="the step at which it happens")
parser.add_argument("--rank", type=int, default=1, help="the rank to which it happens")
parser.add_argument("--what", default="nothing")
args = parser.parse_args()

world = dg.init(shards=4)
dg.manual_seed(3)
model, data, loss_fn = training.build(args.model)
optimizer = optim.AdamW(model.parameters(), lr=3e-3)
state = None


def due(what: str) -> bool:
    now = args.what == what and world.rank == args.rank and trainer.state.step >= args.at
    if now:
        fell()
    return now


@dg.op("... -> ...")
def delicate(a: Any) -> Any:
    """The identity, whose gradient may fail."""

    def vjp(g: Any) -> Any:
        if due("backward"):
            raise RuntimeError("this happened in backward")
        return g

    return a + 0, vjp


def loss(output: Any, target: Any) -> Any:
    if due("forward"):
        raise RuntimeError("this happened in forward")
    return loss_fn(delicate(output), target)


def callback(_: Any) -> None:
    if due("callback"):
        raise RuntimeError("this happened in callback")
    if due("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if due("term"):
        os.kill(os.getpid(), signal.SIGTERM)
    if due("int") and trainer.state.step == args.at:  # a second one would end it at once
        os.kill(os.getpid(), signal.SIGINT)
    if due("usr1"):
        os.kill(os.getpid(), signal.SIGUSR1)


trainer = dg.Trainer(
    model,
    optimizer,
    loss,
    schedule=optim.WarmupCosineLR(optimizer, 5, 50),
    clip_norm=1.0,
    checkpoint=args.checkpoint,
    every=5,
    callbacks=[callback],
    progress=False,
    bucket_mb=0.02,
)
loader = dg.data.DataLoader(data, 30, shuffle=True, seed=11)
final = trainer.fit(loader, max_steps=50, resume=args.resume)
if world.rank == 0:
    print(f"RESULT {final.step} {nn.state_sha256(model.state_dict())} {final.stopped}")
