"""The calls every op is checked with: its own samples, or inputs drawn from its signatures."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd import REGISTRY, Op, Tensor, grad
from distgrad.autograd.signature import draw

OPS = [REGISTRY[name] for name in sorted(REGISTRY)]


def cases(op: Op, seed: int = 3) -> list[tuple[list[Any], dict[str, Any]]]:
    """Return (inputs, settings) pairs; inputs to differentiate are float64."""
    rng = np.random.default_rng(seed)
    if op.samples is not None:
        return [(list(inputs), settings) for inputs, settings in op.samples(rng)]
    return [(draw(s, rng, op.domain), {}) for s in op.signatures]


def is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f"


def cast(inputs: list[Any], dtype: Any) -> list[Any]:
    """Return the inputs with floating-point arrays in ``dtype``."""
    return [np.asarray(x, dtype) if is_float(x) else x for x in inputs]


def values_and_gradients(op: Any, inputs: list[Any], settings: dict[str, Any]) -> list[Any]:
    """Return the op's values and the gradients of a fixed projection of them to float inputs."""
    tensors = [Tensor(x, requires_grad=True) if is_float(x) else x for x in inputs]
    result = op(*tensors, **settings)
    results = result if isinstance(result, tuple) else (result,)
    rng = np.random.default_rng(11)
    total = sum(np.sum(r * rng.normal(size=r.shape).astype(r.dtype)) for r in results)
    leaves = [t for t in tensors if isinstance(t, Tensor)]
    return [r.array for r in results] + [g.array for g in grad(total, leaves)]
