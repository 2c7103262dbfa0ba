"""Sharded training from end to end: the Trainer under every stage, resumed under any other.

What every test compares with is the same training with zero=0 on one rank, unbroken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training import alone, build, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.parallel.zero_fetch import Fleeting

STEPS = 6
SMALL = 0.02  # MiB: several buckets, some of them smaller than a page


def fit(
    name: str = "mlp",
    steps: int = STEPS,
    *,
    zero: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    batch: int = 30,
    evaluate: bool = False,
    **settings: Any,
) -> tuple[str, float]:
    """Train and return the SHA-256 of the model and its loss on other samples."""
    dg.init(shards=4)
    dg.manual_seed(3)
    model, data, loss_fn = build(name)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    trainer = dg.Trainer(
        model,
        optimizer,
        loss_fn,
        schedule=optim.WarmupCosineLR(optimizer, 2, STEPS),
        clip_norm=1.0,
        checkpoint=None if folder is None else str(folder),
        progress=False,
        bucket_mb=SMALL,
        zero=zero,
        **settings,
    )
    trainer.fit(
        dg.data.DataLoader(data, batch, shuffle=True, seed=11),
        max_steps=steps,
        resume=resume,
        evaluate=dg.data.DataLoader(data, 70) if evaluate else None,
        evaluate_every=2,
    )
    loss = trainer.evaluate(dg.data.DataLoader(data, 70))["loss"]
    return nn.state_sha256(model.state_dict()), loss


@cache
def unbroken(name: str = "mlp", **settings: Any) -> tuple[str, float]:
    """The same with zero=0 on one rank."""
    [found] = simulated(1, lambda: fit(name, **settings))
    return found


# Every stage is followed by every other, on as many ranks, more and fewer, in one node and several.
RESUMED = [
    # stage, ranks, their nodes; then the same of the run that goes on
    (0, 1, None, 1, 3, None),
    (0, 2, None, 2, 4, [2, 2]),
    (0, 3, [2, 1], 3, 2, [1, 1]),
    (1, 3, None, 0, 2, None),
    (1, 4, [2, 1, 1], 2, 1, None),
    (1, 2, [1, 1], 3, 3, [1, 1, 1]),
    (2, 3, [1, 1, 1], 0, 4, None),
    (2, 2, None, 1, 3, [2, 1]),
    (2, 4, None, 3, 4, [2, 2]),
    (3, 3, [1, 1, 1], 0, 1, None),
    (3, 4, [1, 1, 1, 1], 1, 2, [1, 1]),
    (3, 3, [2, 1], 2, 3, [1, 1, 1]),
    (3, 2, [1, 1], 3, 3, None),
    (1, 3, [1, 1, 1], 1, 1, None),
    (2, 1, None, 2, 3, [2, 1]),
]


@pytest.mark.parametrize(("a", "n", "nodes", "b", "m", "others"), RESUMED)
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_checkpoint_of_any_stage_and_ranks_goes_on_under_any_other(
    name: str,
    a: int,
    n: int,
    nodes: Sequence[int] | None,
    b: int,
    m: int,
    others: Sequence[int] | None,
    tmp_path: Path,
) -> None:
    first = simulated(n, lambda: fit(name, 3, zero=a, folder=tmp_path), nodes=nodes)
    assert len(set(first)) == 1
    assert first[0] != unbroken(name)
    then = simulated(
        m, lambda: fit(name, zero=b, folder=tmp_path, resume=True), schedule=m, nodes=others
    )
    assert then == [unbroken(name)] * m


@pytest.mark.mpi
def test_under_mpi_each_stage_goes_on_from_the_one_before(tmp_path_factory: Any) -> None:
    def body() -> list[tuple[str, float]]:
        world = dg.init(shards=4)
        folder = Path(
            world.comm.broadcast_bytes(str(tmp_path_factory.mktemp("run")).encode()).decode()
        )
        return [
            fit("cnn", 2 * (k + 1), zero=zero, folder=folder, resume=k > 0)
            for k, zero in enumerate([3, 1, 2])
        ]

    *_, last = alone(body)
    assert last == unbroken("cnn")


# -- what a training may consist of --------------------------------------------------------------


WORLDS = [
    *((zero, 3, nodes) for zero in (1, 2, 3) for nodes in (None, [1, 1, 1])),
    (3, 4, [2, 2]),
    (3, 2, [1, 1]),
]


def samples(n: int = 40) -> dg.data.ArrayDataset:
    i = np.arange(n)
    x = np.sin(np.outer(i + 1, np.arange(1, 7))).astype(np.float32)
    return dg.data.ArrayDataset(x, (i * i) % 3)


class Odd(nn.Module):
    """Has a layer that no batch uses, one that every third does, and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.frozen = nn.Linear(6, 6), nn.Linear(6, 6)
        self.frozen.requires_grad_(False)
        self.unused, self.seldom = nn.Linear(6, 6), nn.Linear(6, 6)
        self.last = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 3))
        self.passes = 0

    def forward(self, x: Any) -> Any:
        h = np.tanh(self.frozen(np.tanh(self.first(x))))
        if self.passes % 3 == 0:
            h = self.seldom(h)
        return self.last(h)


def odd(
    zero: int,
    *,
    make: Callable[[], nn.Module] = Odd,
    batch: int = 12,
    data: Any = None,
    epochs: int = 2,
    loss_fn: Any = F.cross_entropy,
    shards: int | None = 4,
    **settings: Any,
) -> tuple[str, Any]:
    dg.init(shards=shards)
    dg.manual_seed(1)
    model = make()
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)

    def count(state: Any) -> None:
        model.passes = state.step

    trainer = dg.Trainer(
        model,
        optimizer,
        loss_fn,
        clip_norm=0.5,
        progress=False,
        bucket_mb=1e-4,
        zero=zero,
        callbacks=[count],
        **settings,
    )
    loader = dg.data.DataLoader(data or samples(), batch, shuffle=True, seed=2)
    state = trainer.fit(loader, epochs=epochs, evaluate=dg.data.DataLoader(samples(), 7))
    return nn.state_sha256(model.state_dict()), (state.evaluation, state.skipped)


def sharded(zero: int, size: int, nodes: Any, body: Callable[[int], Any]) -> None:
    """Assert that ``body(zero)`` gives on all ranks what ``body(0)`` does in a world of one."""
    assert simulated(size, lambda: body(zero), nodes=nodes) == simulated(1, lambda: body(0)) * size


@pytest.mark.parametrize(("zero", "size", "nodes"), WORLDS)
def test_unused_seldom_used_and_frozen_layers_train_as_without(
    zero: int, size: int, nodes: Any
) -> None:
    sharded(zero, size, nodes, odd)


@pytest.mark.parametrize(("zero", "size", "nodes"), WORLDS)
def test_batches_smaller_than_the_shards_train_as_without(zero: int, size: int, nodes: Any) -> None:
    # The last batch of an epoch has one sample: of four shards three have none.
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.2), nn.Linear(6, 3))

    sharded(zero, size, nodes, lambda z: odd(z, make=make, batch=13))


@pytest.mark.parametrize(("zero", "size", "nodes"), WORLDS)
def test_batches_that_are_not_finite_are_left_out_as_without(
    zero: int, size: int, nodes: Any
) -> None:
    x, y = samples().__getitems__(np.arange(40))
    x[17] = np.nan
    data = dg.data.ArrayDataset(x, y)
    assert simulated(1, lambda: odd(0, data=data, nonfinite="skip"))[0][1][1] == 2
    sharded(zero, size, nodes, lambda z: odd(z, data=data, nonfinite="skip"))


def synchronized() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), nn.SyncBatchNorm(6), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize("zero", [1, 2, 3])
@pytest.mark.parametrize("nodes", [None, [2, 2], [1, 1, 1, 1]])
def test_sync_batch_norm_trains_as_without(zero: int, nodes: Any) -> None:
    def body(z: int) -> Any:
        return odd(z, make=synchronized, shards=4)

    assert simulated(4, lambda: body(zero), nodes=nodes) == simulated(4, lambda: body(0))


@pytest.mark.parametrize(("zero", "size", "nodes"), WORLDS)
def test_accumulated_batches_train_as_without(zero: int, size: int, nodes: Any) -> None:
    def body(z: int) -> str:
        dg.init(shards=4)
        dg.manual_seed(1)
        model = Odd()
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ddp = dg.DistributedDataParallel(model, bucket_mb=1e-4, zero=z)
        for n, batch in enumerate(dg.data.DataLoader(samples(), 7, shuffle=True, seed=2)):
            open_ = n % 3 < 2
            for x, y in batch.shards:
                loss = F.cross_entropy(model(x), y) / 3
                if open_:
                    with ddp.no_sync():
                        ddp.backward(loss)
                else:
                    ddp.backward(loss)
            model.passes += 1
            if not open_:
                optimizer.step()
                optimizer.zero_grad()
        return nn.state_sha256(model.state_dict())

    sharded(zero, size, nodes, body)


@pytest.mark.parametrize(("zero", "size", "nodes"), WORLDS)
@pytest.mark.parametrize("which", ["ema", "swa"])
def test_averages_of_the_weights_are_those_of_zero_0_and_go_on_from_a_checkpoint(
    which: str, zero: int, size: int, nodes: Any, tmp_path: Path
) -> None:
    def body(z: int, steps: int, folder: Path | None, resume: bool = False) -> Any:
        dg.init(shards=4)
        dg.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
        optimizer = optim.AdamW(model.parameters(), lr=1e-2)
        average: Any = (
            optim.ExponentialMovingAverage(model, 0.8)
            if which == "ema"
            else optim.AveragedModel(model)
        )

        def update(_: Any) -> None:
            average.update() if which == "ema" else average.update_parameters(model)

        trainer = dg.Trainer(
            model,
            optimizer,
            F.cross_entropy,
            callbacks=[update],
            progress=False,
            bucket_mb=1e-4,
            zero=z,
            checkpoint=None if folder is None else str(folder),
            also_saved={which: average},
        )
        loader = dg.data.DataLoader(samples(), 12, shuffle=True, seed=2)
        trainer.fit(loader, max_steps=steps, resume=resume)
        if which == "swa":
            dg.update_bn(loader, average)
            return nn.state_sha256(average.state_dict())
        own = nn.state_sha256(model.state_dict())
        with average.average_parameters():
            loss = trainer.evaluate(dg.data.DataLoader(samples(), 7))["loss"]
            averaged = nn.state_sha256(model.state_dict())
        assert nn.state_sha256(model.state_dict()) == own != averaged
        return averaged, loss

    expected = simulated(1, lambda: body(0, 6, None))
    simulated(size, lambda: body(zero, 3, tmp_path), nodes=nodes)
    other = (zero + 1) % 4
    found = simulated(3, lambda: body(other, 6, tmp_path, True), nodes=[2, 1])
    assert found == expected * 3


def test_ranks_with_trainers_of_different_stages_are_told() -> None:
    def body() -> None:
        odd(dg.init(shards=4).rank)

    with pytest.raises(dg.MismatchError, match=r"DistributedDataParallel\(zero=\): rank 0 has 0"):
        simulated(3, body)


def test_an_evaluation_fetches_each_bucket_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def body() -> int:
        dg.init(shards=4)
        model = synchronized()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        trainer = dg.Trainer(
            model, optimizer, F.cross_entropy, zero=3, bucket_mb=1e-4, progress=False
        )
        trainer.fit(dg.data.DataLoader(samples(), 8), max_steps=2)
        dg.distributed.barrier()
        fetched.clear()
        dg.distributed.barrier()
        trainer.evaluate(dg.data.DataLoader(samples(), 8))
        dg.distributed.barrier()
        return len(trainer.ddp.reducer.buckets)

    come = Fleeting._come

    def counted(self: Fleeting) -> None:
        fetched.append(self.name)
        come(self)

    monkeypatch.setattr(Fleeting, "_come", counted)
    buckets = simulated(4, body, nodes=[1] * 4)[0]
    assert len(fetched) == 4 * buckets > 4
