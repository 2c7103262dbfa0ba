"""Small trainings that the tests run in every kind of world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import models
import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.nn import functional as F
from distgrad.perrank import isolated

TEXT = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(600))


def alone(body: Callable[[], Any]) -> Any:
    """Run ``body`` in a fresh context: no world, no seed, no shard left from another test.

    A world of one in a plain process, MPI's world under mpirun.
    """
    return isolated(body)


def simulated(
    size: int,
    body: Callable[[], Any],
    schedule: int | None = None,
    nodes: Sequence[int] | None = None,
) -> list[Any]:
    """Run ``body`` on ``size`` simulated ranks, of one node or ``nodes``; return their results."""
    return run_ranks(size, body, schedule=schedule, nodes=nodes)


def build(name: str) -> tuple[nn.Module, Any, Callable[..., Any]]:
    """Return (model, data set, loss) of a small workload: mlp, cnn (batch-norm, dropout) or gpt."""
    if name == "gpt":
        tokens, vocabulary = dg.data.character_tokens(TEXT)
        model: nn.Module = models.GPT(len(vocabulary), 16, layers=2, heads=2, width=32, dropout=0.1)
        data: Any = dg.data.TextDataset(tokens, 16)
        return model, data, lambda logits, y: F.cross_entropy(logits, y.reshape(-1))
    train, _ = dg.data.digits()
    data = dg.data.Subset(train, np.arange(200))
    model = models.cnn((1, 8, 8), 10) if name == "cnn" else models.mlp(64, 10, width=48)
    return model, data, F.cross_entropy


def trained_sha256(
    name: str,
    *,
    steps: int = 50,
    shards: int | None = 4,
    bucket_mb: float | None = 4.0,
    algorithm: str | None = None,
    batch: int = 30,
    zero: int = 0,
    capture: bool = False,
) -> str:
    """Train in the bare loop for ``steps`` steps and return the SHA-256 of the state_dict.

    200 samples in batches of 30: shards of 8 and 7, and a last batch of 20.
    """
    dg.init(shards=shards)
    dg.manual_seed(3)
    model, data, loss_fn = build(name)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    schedule = optim.WarmupCosineLR(optimizer, 5, steps)
    ddp = dg.DistributedDataParallel(model, bucket_mb=bucket_mb, algorithm=algorithm, zero=zero)
    loader = dg.data.DataLoader(data, batch, shuffle=True, seed=11)

    def backward(x: Any, y: Any) -> None:
        ddp.backward(loss_fn(model(x), y))

    def move() -> None:
        dg.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()

    if capture:
        backward, move = dg.capture(backward), dg.capture(move)
    done = 0
    while done < steps:
        for b in loader:
            optimizer.zero_grad()
            for x, y in b.shards:
                backward(x, y)
            move()
            done += 1
            if done == steps:
                break
    return nn.state_sha256(model.state_dict())
