"""The captured step on many ranks: the bits of one rank's eager step."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from training import alone, build, simulated, trained_sha256

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.nn import functional as F


@cache
def eager(name: str) -> str:
    return run_ranks(1, lambda: trained_sha256(name, steps=9))[0]


@pytest.mark.parametrize("name", ["mlp", "cnn", "gpt"])
@pytest.mark.parametrize("zero", [0, 1, 2])
@pytest.mark.parametrize(("size", "nodes"), [(1, None), (3, None), (3, [2, 1]), (4, [1] * 4)])
def test_the_bits_are_those_of_the_eager_step(name, zero, size, nodes):
    body = lambda: trained_sha256(name, steps=9, zero=zero, bucket_mb=0.02, capture=True)  # noqa: E731
    assert set(simulated(size, body, nodes=nodes)) == {eager(name)}


@pytest.mark.parametrize("algorithm", ["tree", "shared", "hierarchical"])
def test_whatever_the_algorithm(algorithm):
    body = lambda: trained_sha256("mlp", steps=9, algorithm=algorithm, capture=True)  # noqa: E731
    assert set(simulated(3, body)) == {eager("mlp")}


def test_batches_smaller_than_the_shards():
    def body(capture):
        return trained_sha256("mlp", batch=66, steps=9, capture=capture)

    one = run_ranks(1, lambda: body(False))[0]
    assert set(simulated(3, lambda: body(True))) == {one}


@pytest.mark.mpi
@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.parametrize("name", ["mlp", "cnn", "gpt"])
def test_mpi_ranks(name, zero):
    body = lambda: trained_sha256(name, steps=9, zero=zero, bucket_mb=0.02, capture=True)  # noqa: E731
    assert alone(body) == eager(name)


def accumulated(capture: bool) -> bytes:
    dg.init(shards=4)
    dg.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    ddp = dg.DistributedDataParallel(model, nonfinite="skip")

    def step(x, y):
        with ddp.no_sync():
            ddp.backward(F.cross_entropy(model(x[:4]), y[:4]))
        ddp.backward(F.cross_entropy(model(x[4:]), y[4:]), reduction="sum")
        dg.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    run = dg.capture(step) if capture else step
    rng = np.random.default_rng(dg.current_world().rank)
    for number in range(7):
        x, y = rng.normal(size=(8, 4)).astype("f4"), rng.integers(0, 3, 8)
        if number == 5:
            x[0] = np.inf  # this batch is left out
        for _ in dg.own_shards(dg.current_world(), number, 32):
            run(dg.tensor(x), dg.tensor(y))
    return b"".join(p.array.tobytes() for p in [*model.parameters(), *model.buffers()])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_accumulation_inside_the_step_and_batches_left_out():
    wanted = simulated(4, lambda: accumulated(False))
    assert simulated(4, lambda: accumulated(True)) == wanted


def fitted(capture: bool) -> str:
    dg.init(shards=4)
    dg.manual_seed(4)
    model, data, loss_fn = build("cnn")
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    trainer = dg.Trainer(
        model,
        optimizer,
        loss_fn,
        clip_norm=1.0,
        metrics={"accuracy": dg.accuracy},
        progress=False,
        capture=capture,
    )
    state = trainer.fit(dg.data.DataLoader(data, 30, shuffle=True, seed=1), epochs=2)
    return f"{state.loss} {state.metrics} {nn.state_sha256(model.state_dict())}"


def test_the_trainer_captures():
    one = run_ranks(1, lambda: fitted(False))
    assert simulated(3, lambda: fitted(True)) == one * 3


def test_zero_3_is_refused():
    def body():
        trained_sha256("mlp", steps=9, zero=3, bucket_mb=0.02, capture=True)

    with pytest.raises(dg.CaptureError, match="cannot have zero=3, which brings parameters"):
        simulated(3, body, nodes=[1, 1, 1])
