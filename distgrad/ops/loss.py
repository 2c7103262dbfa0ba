"""Losses of regression and of binary classification."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import Sample, op
from distgrad.errors import ShapeError
from distgrad.ops.activation import sigmoid


def _cases(rng: np.random.Generator) -> list[Sample]:
    x, y = 2 * rng.normal(size=(3, 2)), rng.random((3, 2))
    return [((x, y), {"reduction": r}) for r in ("mean", "sum", "none")]


@op("..., ... ->", samples=_cases)
def mse(a: Any, b: Any, *, reduction: str = "mean") -> Any:
    """(a - b)², averaged, summed or as it is (``reduction`` "mean", "sum", "none")."""
    d = a - b
    scale = _scale(d, reduction)

    def slope(g: Any) -> Any:
        return 2 * d * (g * scale)

    return _reduced(d * d, reduction, scale), (slope, lambda g: -slope(g))


@op("..., ... ->", samples=_cases)
def binary_cross_entropy_with_logits(logits: Any, targets: Any, *, reduction: str = "mean") -> Any:
    """-(t log σ(x) + (1 - t) log(1 - σ(x))), without overflow."""
    x, t = logits, targets
    loss = np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.absolute(x)))
    scale = _scale(loss, reduction)
    return _reduced(loss, reduction, scale), (
        lambda g: (sigmoid.function(x)[0] - t) * (g * scale),
        lambda g: -x * (g * scale),
    )


def _scale(loss: Any, reduction: str) -> Any:
    if reduction not in {"mean", "sum", "none"}:
        raise ShapeError(f"reduction is 'mean', 'sum' or 'none'; got {reduction!r}")
    if reduction != "mean":
        return np.asarray(1, loss.dtype)
    # The mean over nothing is NaN, as in PyTorch.
    return np.asarray(1 / loss.size if loss.size else np.nan, loss.dtype)


def _reduced(loss: Any, reduction: str, scale: Any) -> Any:
    if reduction == "none":
        return loss
    return np.add.reduce(loss, axis=tuple(range(loss.ndim))) * scale
