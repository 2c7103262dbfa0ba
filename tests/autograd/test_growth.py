"""Long chains and many steps: memory grows with depth alone, nothing recurses, nothing leaks."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.autograd import checkpoint, grad
from distgrad.nn import functional as F


def chain(depth: int, x: Tensor) -> Tensor:
    y = x
    for i in range(depth):
        y = np.sin(y) if i % 2 else y * 1.5
    return y


def peak(depth: int) -> int:
    x = Tensor(np.ones(64), requires_grad=True)
    gc.collect()
    tracemalloc.start()
    chain(depth, x).sum().backward()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_the_memory_of_a_backward_pass_grows_linearly_with_depth():
    peak(10)  # what is loaded with the first op is no chain's
    first, second, third = (peak(n) for n in (2_500, 5_000, 10_000))
    assert second / first == pytest.approx(2, rel=0.05)
    assert third / second == pytest.approx(2, rel=0.05)


def test_ten_thousand_ops_with_a_stack_of_a_hundred_frames():
    limit = sys.getrecursionlimit()
    frame, depth = sys._getframe(), 0
    while frame:
        frame, depth = frame.f_back, depth + 1
    sys.setrecursionlimit(depth + 100)
    try:
        x = Tensor(np.ones(3), requires_grad=True)
        y = chain(10_000, x)
        (first,) = grad(y.sum(), [x], create_graph=True)
        first.sum().backward()
        del first, y
        assert np.isfinite(x.grad.array).all()
        z = x
        for _ in range(20):
            z = checkpoint(lambda a: chain(500, a), z)
        z.sum().backward()
        kept = chain(10_000, x)  # freed without a backward pass
        del kept
    finally:
        sys.setrecursionlimit(limit)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_resident_memory_does_not_grow_over_a_thousand_steps():
    dg.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.GELU(), nn.Linear(128, 10))
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 64)).astype(np.float32), rng.integers(0, 10, 32)

    def steps(count: int) -> None:
        for i in range(count):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if i % 10 == 0:  # now and then a gradient of a gradient, and a graph nobody walks
                (g,) = grad(loss, [model[0].weight], create_graph=True)
                loss = loss + (g * g).sum() * 1e-3
                model(x)
            loss.backward()
            optimizer.step()

    steps(200)
    gc.collect()
    before = resident()
    steps(1_000)
    gc.collect()
    assert resident() - before < 2 * 2**20
