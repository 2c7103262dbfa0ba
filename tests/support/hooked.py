"""Sums of one bucket by a communication hook, on ranks whose gradients are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from training import simulated

import distgrad as dg
from distgrad import nn


class Parameters(nn.Module):
    """Parameters of given shapes, whose gradients are given too."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], dtype: Any = np.float32) -> None:
        super().__init__()
        for i, shape in enumerate(shapes):
            setattr(self, f"p{i}", nn.Parameter(np.zeros(shape, dtype)))

    def backward(self, gradients: Sequence[Any]) -> None:
        loss = sum((p * g).sum() for p, g in zip(self.parameters(), gradients, strict=True))
        loss.backward()


def gradient(rank: int, shape: tuple[int, ...], step: int = 0) -> Any:
    """Numbers of many sizes that depend on rank, step and place."""
    rng = np.random.default_rng([7, rank, step, *shape])
    return (rng.standard_normal(shape) * np.exp(rng.standard_normal(shape))).astype(np.float32)


@dataclass
class Sums:
    """What the ranks found, step by step."""

    found: list[list[Any]] = field(default_factory=list)  # [step] of gradients
    sent: list[int] = field(default_factory=list)  # bytes, by step
    state: Any = None


def sums(
    size: int,
    shapes: Sequence[tuple[int, ...]],
    hook: Callable[..., Any] | None,
    make_state: Callable[[], Any] = lambda: None,
    *,
    steps: int = 1,
    schedule: int | None = None,
    gradients: Callable[[int, tuple[int, ...], int], Any] = gradient,
    dtype: Any = np.float32,
    nodes: Sequence[int] | None = None,
    **settings: Any,
) -> list[Sums]:
    """Sum gradients of ``steps`` batches on every rank: reduction="sum", so weights are 1."""
    return simulated(
        size,
        lambda: summed(shapes, hook, make_state, steps, gradients, dtype, settings),
        schedule,
        nodes=nodes or [1] * size,  # hooks are for what crosses between hosts
    )


def summed(shapes, hook, make_state, steps=1, gradients=gradient, dtype=np.float32, settings=None):
    """The body of one rank."""
    world = dg.init()
    model = Parameters(shapes, dtype)
    ddp = dg.DistributedDataParallel(
        model, reduction="sum", **{"check_every": 0, **(settings or {})}
    )
    result = Sums(state=make_state())
    if hook is not None:
        ddp.register_comm_hook(result.state, hook)
    for step in range(steps):
        model.zero_grad()
        before = world.comm.bytes_sent
        model.backward([gradients(world.rank, s, step).astype(dtype) for s in shapes])
        result.sent.append(world.comm.bytes_sent - before)
        result.found.append([p.grad.array.copy() for p in model.parameters()])
    return result
