"""A small model with parameters of every kind, trained with any optimizers under any stage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from training import simulated

import distgrad as dg
from distgrad import nn
from distgrad.nn import functional as F

WORLDS: list[tuple[int, Sequence[int] | None]] = [
    (2, None),
    (3, None),
    (3, [2, 1]),
    (2, [1, 1]),
    (3, [1, 1, 1]),
]
"""Sizes, and which ranks share a node; None: all of them."""
STAGES = (1, 2, 3)
CASES: list[tuple[int, int, Sequence[int] | None]] = [
    (0, 3, [2, 1]),
    (1, 3, None),
    (2, 3, [2, 1]),
    (3, 2, None),
    (3, 3, [2, 1]),
    (1, 2, [1, 1]),
    (3, 3, [1, 1, 1]),
]
"""Stages, sizes and nodes: every kind of memory, and every way of the values to the ranks."""
SAMPLES = 23  # batches of 10, 10 and 3: in the last one of 4 shards is absent


class Odd(nn.Module):
    """Odd sizes; one parameter of more than a block of norms, one of no axes, an unused one."""

    def __init__(self, complex_too: bool = True) -> None:
        super().__init__()
        rng = np.random.default_rng(5)

        def made(*shape: int, kind: Any = np.float32) -> nn.Parameter:
            return nn.Parameter(np.asarray(0.3 * rng.normal(size=shape), kind))

        self.wide = made(7, 2351)  # 16,457 elements: cut twice
        self.narrow = made(2351, 5)  # 11,755
        self.scale = made()
        self.bias = made(5)
        self.never = made(3, 11)
        self.still = made(5)
        self.still.requires_grad = False
        self.fine = made(5, 3, kind=np.float64)
        self.turn = (
            made(5)
            if not complex_too
            else nn.Parameter((rng.normal(size=5) + 1j * rng.normal(size=5)).astype(np.complex64))
        )

    def forward(self, x: dg.Tensor) -> dg.Tensor:
        """Return 3 outputs a sample."""
        h = (x @ self.wide).tanh() @ self.narrow * 0.1  # b 5
        h = h * self.scale + self.bias + self.still
        h = h * self.turn
        h = h.real if self.turn.dtype.kind == "c" else h
        return h.astype(np.float64) @ self.fine


@dataclass
class Training:
    """One training on one rank, as far as it has come."""

    world: Any
    model: Odd
    ddp: Any
    optimizers: list[Any]
    losses: list[float] = field(default_factory=list)

    def batches(self, epochs: int = 1) -> Any:
        """Yield the batches."""
        rng = np.random.default_rng(17)
        data = dg.data.TensorDataset(
            rng.normal(size=(SAMPLES, 7)).astype(np.float32), rng.normal(size=(SAMPLES, 3))
        )
        loader = dg.data.DataLoader(data, 10)
        for _ in range(epochs):
            yield from loader

    def backward(self, batch: Any) -> None:
        """Sum the gradients of one batch."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        for x, y in batch.shards:
            self.ddp.backward(F.mse_loss(self.model(x), y))

    def step(self) -> None:
        """Move the parameters."""
        for optimizer in self.optimizers:
            optimizer.step()

    def train(self, epochs: int = 1) -> Training:
        """Train."""
        for batch in self.batches(epochs):
            self.backward(batch)
            self.step()
        return self

    def hashes(self) -> tuple[str, ...]:
        """Return the SHA-256 of the weights, and of each optimizer's state."""
        weights = nn.state_sha256(self.model.state_dict())
        return (weights, *(sha256(o.state_dict()) for o in self.optimizers))


def prepared(
    zero: int,
    make: Callable[[Odd], Any],
    *,
    complex_too: bool = True,
    shards: int = 4,
    bucket_mb: float = 0.04,  # the two large parameters have buckets of their own
    **settings: Any,
) -> Training:
    """Return a training; ``make(model)`` returns an optimizer, or several."""
    world = dg.init(shards=shards)
    dg.manual_seed(3)
    model = Odd(complex_too)
    made = make(model)
    ddp = dg.DistributedDataParallel(model, zero=zero, bucket_mb=bucket_mb, **settings)
    return Training(world, model, ddp, made if isinstance(made, list) else [made])


def everywhere(body: Callable[[int], Any], worlds: Any = None) -> None:
    """Assert that ``body(zero)`` returns on all ranks what it does on one rank with zero=0.

    In ``worlds`` under every stage, otherwise in ``CASES``.
    """
    (expected,) = simulated(1, lambda: body(0))
    assert expected is not None
    cases = CASES if worlds is None else [(z, *world) for world in worlds for z in STAGES]
    for schedule, (zero, size, nodes) in enumerate(cases):
        ranks = simulated(size, lambda z=zero: body(z), schedule, nodes)
        for rank, found in enumerate(ranks):
            assert found == expected, f"zero={zero}, {size} ranks, nodes={nodes}, rank {rank}"


def sha256(value: Any) -> str:
    """Return the SHA-256 of a state: mappings, lists, arrays and numbers."""
    digest = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, Mapping):
            for key in value:
                digest.update(repr(key).encode())
                feed(value[key])
        elif isinstance(value, list | tuple):
            digest.update(repr(len(value)).encode())
            for part in value:
                feed(part)
        elif isinstance(value, np.ndarray | np.generic | dg.Tensor):
            array = np.asarray(value)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        else:
            digest.update(repr(value).encode())

    feed(value)
    return digest.hexdigest()
