"""The matrix products of a row's step, and nothing else: NumPy into arrays made before."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rows import ROWS, Attention, Linear

import distgrad  # noqa: F401 (it has NumPy multiply with the kernels that distgrad's own steps use)


def versions() -> dict[str, str]:
    return {"numpy": np.__version__}


def build(name: str, form: str, *, threads: int = 1, batch: int | None = None) -> Callable[[], Any]:
    """Return the products' turn; threads are those of the environment."""
    row = ROWS[name]
    assert row.products is not None, f"{row.title} has no list of products"
    make = _arrays()
    calls: list[Callable[[], Any]] = []
    for work in row.products(batch or row.batch):
        if isinstance(work, Linear):
            _linear(calls, make, *work)
        elif isinstance(work, Attention):
            _attention(calls, make, *work)
        else:
            _recurrence(calls, make, *work)

    def run() -> float:
        for call in calls:
            call()
        return 0.0

    return run


def _arrays() -> Callable[..., Any]:
    """Return ``make``: an array of a shape; what is large is shared, what fits a cache is not."""
    rng, large = np.random.default_rng(0), {}

    def make(*shape: int) -> Any:
        if np.prod(shape) < 4 << 20:
            return rng.random(shape, np.float32)
        if shape not in large:
            large[shape] = rng.random(shape, np.float32)
        return large[shape]

    return make


def _linear(calls: Any, make: Any, rows: int, inputs: int, outputs: int, of_data: bool) -> None:
    x, w, y = make(rows, inputs), make(outputs, inputs), make(rows, outputs)
    calls += [partial(np.matmul, x, w.T, out=y), partial(np.matmul, y.T, x, out=make(*w.shape))]
    if not of_data:
        calls.append(partial(np.matmul, y, w, out=make(rows, inputs)))


def _attention(calls: Any, make: Any, heads: int, length: int, width: int) -> None:
    q, k, v, y, gradient = (make(heads, length, width) for _ in range(5))
    scores, g_scores = make(heads, length, length), make(heads, length, length)

    def flipped(a: Any) -> Any:
        return a.transpose(0, 2, 1)

    calls += [
        partial(np.matmul, q, flipped(k), out=scores),
        partial(np.matmul, scores, v, out=y),
        partial(np.matmul, y, flipped(v), out=g_scores),
        partial(np.matmul, flipped(scores), y, out=gradient),
        partial(np.matmul, g_scores, k, out=gradient),
        partial(np.matmul, flipped(g_scores), q, out=gradient),
    ]


def _recurrence(calls: Any, make: Any, steps: int, batch: int, width: int, outputs: int) -> None:
    w, g_w = make(outputs, width), make(outputs, width)
    h, g_h = make(steps, batch, width), make(steps, batch, width)
    gates = make(steps, batch, outputs)
    calls += [partial(np.matmul, h[t], w.T, out=gates[t]) for t in range(steps)]
    calls += [partial(np.matmul, gates[t], w, out=g_h[t]) for t in range(steps)]
    flat = gates.reshape(-1, outputs), h.reshape(-1, width)
    calls.append(partial(np.matmul, flat[0].T, flat[1], out=g_w))
