"""Metrics: sums over the samples of a shard, so that means over any number of ranks are exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError

Metric: TypeAlias = Callable[[Tensor, Any], float]
"""(model output, target) to the sum over the samples; the mean over all samples is reported."""


def accuracy(logits: Tensor, labels: Any) -> float:
    """Return how many rows of ``logits`` (n, classes) are largest at ``labels`` (n).

    Errors: ShapeError for labels of another shape.
    """
    found, wanted = np.argmax(logits.array, axis=-1), np.asarray(labels)
    if found.shape != wanted.shape:  # NumPy would compare every row with every label
        raise ShapeError(
            f"accuracy: logits of {logits.shape} need labels of {found.shape}; got {wanted.shape}"
        )
    return float(np.sum(found == wanted))


def measured(
    metrics: Mapping[str, Metric], output: Tensor, target: Any, total: int
) -> dict[str, float]:
    """Return each metric's part of a mean over ``total`` samples, under its name in a sum."""
    return {named(name): metric(output, target) / total for name, metric in metrics.items()}


def named(metric: str) -> str:
    """Return under which name a user's metric is summed: apart from the Trainer's own."""
    return f"metric {metric}"
