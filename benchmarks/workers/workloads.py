"""The models that the benchmarks time, each with a batch of random numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distgrad import nn
from distgrad.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
import models


def mlp(rng: Any, n: int) -> tuple[nn.Module, Any, Any]:
    layers: list[nn.Module] = []
    for a, b in ((784, 1024), (1024, 1024), (1024, 1024)):
        layers += [nn.Linear(a, b), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(1024, 10))
    return model, rng.normal(size=(n, 784)).astype(np.float32), rng.integers(0, 10, n)


def cnn(rng: Any, n: int) -> tuple[nn.Module, Any, Any]:
    def conv(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

    model = nn.Sequential(
        *conv(3, 32),
        *conv(32, 32),
        nn.MaxPool2d(2),
        *conv(32, 64),
        *conv(64, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 8 * 8, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )
    return model, rng.normal(size=(n, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, n)


def gpt(rng: Any, n: int) -> tuple[nn.Module, Any, Any]:
    model = models.GPT(65, 256, layers=6, heads=6, width=384)
    tokens = rng.integers(0, 65, (n, 257))
    return model, tokens[:, :-1], tokens[:, 1:].reshape(-1)


def small(rng: Any, n: int) -> tuple[nn.Module, Any, Any]:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return model, rng.normal(size=(n, 64)).astype(np.float32), rng.integers(0, 10, n)


WORKLOADS = {"mlp": (mlp, 128), "cnn": (cnn, 64), "gpt": (gpt, 4), "small": (small, 32)}


def _step(name: str) -> tuple[nn.Module, Callable[[], Any]]:
    build, batch = WORKLOADS[name]
    model, x, y = build(np.random.default_rng(0), batch)
    return model, lambda: F.cross_entropy(model(x), y)


def mlp_step() -> tuple[nn.Module, Callable[[], Any]]:
    return _step("mlp")


def cnn_step() -> tuple[nn.Module, Callable[[], Any]]:
    return _step("cnn")


def gpt_step() -> tuple[nn.Module, Callable[[], Any]]:
    return _step("gpt")
