"""The models that the benchmarks of several ranks time, each with a batch of random numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distgrad import nn
from distgrad.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))
from distgrad_rows import labels_in_a_row, model_of
from rows import ROWS


def _workload(name: str) -> tuple[Callable[[Any, int], tuple[nn.Module, Any, Any]], int]:
    def build(rng: Any, n: int) -> tuple[nn.Module, Any, Any]:
        x, y = ROWS[name].data(rng, n)
        return model_of(name)[0], x, labels_in_a_row(name, y)

    return build, ROWS[name].batch


WORKLOADS = {name: _workload(name) for name in ("mlp", "cnn", "gpt", "small")}


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
