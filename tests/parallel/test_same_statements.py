"""Programs with several models, passes or collectives, where some ranks have no sample of a batch.

29 samples in batches of 9: the last batch has 2, for 4 shards, so that up to two ranks run on an
empty shard. Every program must end, with the same bits on any number of ranks.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

ROWS, BATCH = 29, 9


def data() -> dg.data.ArrayDataset:
    i = np.arange(ROWS)
    x = np.sin(np.outer(i + 1, np.arange(1, 7))).astype(np.float32)
    return dg.data.ArrayDataset(x, (i * i) % 3)


def loader() -> dg.data.DataLoader:
    return dg.data.DataLoader(data(), BATCH, shuffle=True, seed=5)


def network(inputs: int, outputs: int, norm: Any = None) -> nn.Module:
    middle = [] if norm is None else [norm(8)]
    return nn.Sequential(nn.Linear(inputs, 8), *middle, nn.Tanh(), nn.Linear(8, outputs))


def sha256(*models: nn.Module) -> str:
    return "".join(nn.state_sha256(m.state_dict()) for m in models)


def moved(optimizer: optim.Optimizer, loss: Callable[[], Any]) -> None:
    optimizer.zero_grad()
    loss()
    optimizer.step()


def gan_with_two_loops(norm: Any = None) -> str:
    d, g = network(6, 1, norm), network(4, 6, norm)
    ddp_d, ddp_g = dg.DistributedDataParallel(d), dg.DistributedDataParallel(g)
    opt_d, opt_g = optim.Adam(d.parameters(), lr=1e-2), optim.Adam(g.parameters(), lr=1e-2)
    for batch in loader():
        opt_d.zero_grad()
        for x, _ in batch.shards:
            fake = g(dg.random.normal((len(x), 4))).detach()
            ddp_d.backward(F.softplus(-d(x)).mean() + F.softplus(d(fake)).mean())
        opt_d.step()
        opt_g.zero_grad()
        for x, _ in batch.shards:
            ddp_g.backward(F.softplus(-d(g(dg.random.normal((len(x), 4))))).mean())
        opt_g.step()
    return sha256(d, g)


def gan_in_one_loop(norm: Any = None) -> str:
    d, g = network(6, 1, norm), network(4, 6, norm)
    ddp_g, ddp_d = dg.DistributedDataParallel(g), dg.DistributedDataParallel(d)
    opt_d, opt_g = optim.Adam(d.parameters(), lr=1e-2), optim.Adam(g.parameters(), lr=1e-2)
    for batch in loader():
        opt_d.zero_grad()
        opt_g.zero_grad()
        for x, _ in batch.shards:
            fake = g(dg.random.normal((len(x), 4)))
            d.requires_grad_(True)
            ddp_d.backward(F.softplus(-d(x)).mean() + F.softplus(d(fake.detach())).mean())
            score = nn.Sequential(nn.Identity())(fake)
            ddp_g.backward((score * score).mean())
        opt_d.step()
        opt_g.step()
    return sha256(d, g)


def chained(norm: Any = None) -> str:
    first, second = network(6, 5, norm), network(5, 3, norm)
    ddp, _ = dg.DistributedDataParallel(second), dg.DistributedDataParallel(first)
    optimizer = optim.AdamW([*first.parameters(), *second.parameters()], lr=1e-2)
    for batch in loader():
        optimizer.zero_grad()
        for x, y in batch.shards:
            ddp.backward(F.cross_entropy(second(first(x)), y) * 0.5)
        optimizer.step()
    return sha256(first, second)


def two_equal_models(norm: Any = None) -> str:
    """Stepped in the other order than they were made in."""
    models = [network(6, 3, norm), network(6, 3, norm)]
    ddps = [dg.DistributedDataParallel(m) for m in models]
    opts = [optim.SGD(m.parameters(), lr=lr) for m, lr in zip(models, (0.1, 0.3), strict=True)]
    for batch in loader():
        for i in (1, 0):
            opts[i].zero_grad()
        for x, y in batch.shards:
            for i in (1, 0):
                ddps[i].backward(F.cross_entropy(models[i](x), y))
        for optimizer in opts:
            optimizer.step()
    return sha256(*models)


def k_fold(norm: Any = None) -> str:
    """Each fold's model is dropped in a cycle that the collector has not seen yet."""
    gc.disable()
    try:
        found = ""
        for fold in range(3):
            model = network(6, 3, norm)
            ddp: Any = dg.DistributedDataParallel(model)
            model.cycle = [ddp]  # type: ignore[assignment]
            optimizer = optim.SGD(model.parameters(), lr=0.1)
            rows = np.arange(ROWS)[np.arange(ROWS) % 3 != fold]
            part = dg.data.Subset(data(), rows)
            for batch in dg.data.DataLoader(part, BATCH):
                optimizer.zero_grad()
                for x, y in batch.shards:
                    ddp.backward(F.cross_entropy(model(x), y))
                optimizer.step()
            found += sha256(model)
        return found
    finally:
        gc.enable()


def validated_without_no_grad(norm: Any = None) -> str:
    """The loader is counted first, a batch is looked at twice, validation records a graph."""
    model = network(6, 3, norm)
    ddp, optimizer = dg.DistributedDataParallel(model), optim.Adam(model.parameters(), lr=1e-2)
    train, correct, samples, total = loader(), 0.0, 0, 0.0
    assert sum(1 for _ in train) == 4
    for batch in train:
        next(iter(batch.shards))
        optimizer.zero_grad()
        for x, y in batch.shards:
            loss = F.cross_entropy(model(x), y)
            ddp.backward(loss)
            total += float(loss) * len(x)
        optimizer.step()
        model.eval()
        for x, y in batch.shards:
            logits = model(x)
            correct += float(np.sum(np.argmax(logits.array, axis=1) == y))
            samples += len(y)
        model.train()
    sums = np.array([correct, samples, total])
    assert np.isfinite(sums).all()
    dg.current_world().comm.all_reduce(sums)
    assert sums[1] == ROWS
    return sha256(model)


def with_a_collective_of_ones_own(norm: Any = None) -> str:
    model = network(6, 3, norm)
    ddp, optimizer = dg.DistributedDataParallel(model), optim.Adam(model.parameters(), lr=1e-2)
    world, seen = dg.current_world(), np.zeros(1)
    for batch in loader():
        optimizer.zero_grad()
        here = np.zeros(1)
        for x, y in batch.shards:
            ddp.backward(F.cross_entropy(model(x), y))
            here += len(x)
        world.comm.all_reduce(here)
        assert here[0] == batch.total
        seen += here
        optimizer.step()
    assert seen[0] == ROWS
    return sha256(model)


def accumulated_over_batches(norm: Any = None) -> str:
    """PyTorch's accumulation: gradients of 4 batches, the last of which leaves ranks empty."""
    model = network(6, 3, norm or nn.BatchNorm1d)
    ddp, optimizer = dg.DistributedDataParallel(model), optim.Adam(model.parameters(), lr=1e-2)
    train = loader()
    for _ in range(2):
        for number, batch in enumerate(train, 1):
            for x, y in batch.shards:
                if number % 4:
                    with ddp.no_sync():
                        ddp.backward(F.cross_entropy(model(x), y) / 4)
                else:
                    ddp.backward(F.cross_entropy(model(x), y) / 4)
            if number % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()
    return sha256(model)


PROGRAMS = [
    gan_with_two_loops,
    gan_in_one_loop,
    chained,
    two_equal_models,
    k_fold,
    validated_without_no_grad,
    with_a_collective_of_ones_own,
    accumulated_over_batches,
]


def run(program: Callable[..., str], shards: int | None, norm: Any = None) -> str:
    dg.init(shards=shards)
    dg.manual_seed(7)
    return program(norm)


@pytest.mark.parametrize("norm", [None, nn.BatchNorm1d])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_bits_are_those_of_one_rank(program: Callable[..., str], norm: Any) -> None:
    one = simulated(1, lambda: run(program, 4, norm))
    for size in (2, 3, 4):
        assert simulated(size, lambda: run(program, 4, norm)) == one * size


@pytest.mark.mpi
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_bits_are_those_of_one_rank_under_mpi(program: Callable[..., str]) -> None:
    assert alone(lambda: run(program, 4)) == simulated(1, lambda: run(program, 4))[0]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_sync_batch_norm_keeps_step_on_ranks_without_a_sample(
    program: Callable[..., str], size: int
) -> None:
    found = simulated(size, lambda: run(program, None, nn.SyncBatchNorm))
    assert len(set(found)) == 1


@pytest.mark.mpi
@pytest.mark.parametrize("program", PROGRAMS)
def test_sync_batch_norm_is_the_same_under_mpi(program: Callable[..., str]) -> None:
    def body() -> tuple[str, int]:
        found = run(program, None, nn.SyncBatchNorm)
        return found, dg.current_world().size

    sha, size = alone(body)
    assert sha == simulated(size, lambda: run(program, None, nn.SyncBatchNorm))[0]


def test_accumulated_gradients_are_the_mean_of_the_batches() -> None:
    def body() -> list[Any]:
        dg.init(shards=4)
        dg.manual_seed(7)
        model = network(6, 3)
        ddp = dg.DistributedDataParallel(model)
        for number, batch in enumerate(loader(), 1):
            for x, y in batch.shards:
                if number < 4:
                    with ddp.no_sync():
                        ddp.backward(F.cross_entropy(model(x), y) / 4)
                else:
                    ddp.backward(F.cross_entropy(model(x), y) / 4)
        return [p.grad.array.copy() for p in model.parameters()]

    def by_hand() -> list[Any]:
        dg.init()
        dg.manual_seed(7)
        model = network(6, 3)
        for batch in loader():
            for x, y in batch.shards:
                (F.cross_entropy(model(x), y) / 4).backward()
        return [p.grad.array for p in model.parameters()]

    expected = simulated(1, by_hand)[0]
    for found in simulated(3, body):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_zero_grad_drops_what_was_accumulated() -> None:
    def body(dropped: bool) -> list[Any]:
        dg.init(shards=4)
        dg.manual_seed(7)
        model = network(6, 3)
        ddp = dg.DistributedDataParallel(model)
        batches = list(loader())
        if dropped:
            for batch in batches[1:3]:
                for x, y in batch.shards:
                    with ddp.no_sync():
                        ddp.backward(F.cross_entropy(model(x), y))
            model.zero_grad()
        for x, y in batches[0].shards:
            ddp.backward(F.cross_entropy(model(x), y))
        return [p.grad.array.copy() for p in model.parameters()]

    for found, expected in zip(
        simulated(3, lambda: body(True)), simulated(3, lambda: body(False)), strict=True
    ):
        for a, b in zip(found, expected, strict=True):
            assert np.array_equal(a, b)


def test_a_batch_that_an_exception_ended_leaves_nothing_behind() -> None:
    def body() -> None:
        dg.init(shards=4)
        model = network(6, 3)
        ddp = dg.DistributedDataParallel(model)
        for batch in loader():
            for x, y in batch.shards:  # left after the first shard
                ddp.backward(F.cross_entropy(model(x), y))
                break
            for x, y in batch.shards:
                ddp.backward(F.cross_entropy(model(x), y))

    simulated(1, body)
