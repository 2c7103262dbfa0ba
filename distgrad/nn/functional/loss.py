"""Losses with PyTorch's names, settings and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.nn.functional.wrap import same_shape, wrap


def cross_entropy(
    logits: TensorLike,
    labels: Any,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax cross-entropy of logits (n, c, …) and integer labels (n, …).

    The mean is over the labels that are not ``ignore_index``. Errors: ShapeError naming a label
    out of range.
    """
    result: Tensor = ops.cross_entropy(
        wrap(logits),
        labels if isinstance(labels, Tensor) else np.asarray(labels),
        reduction=reduction,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )
    return result


def mse_loss(x: TensorLike, y: TensorLike, reduction: str = "mean") -> Tensor:
    """(x - y)², averaged, summed or as it is. Errors: ShapeError for two shapes."""
    x, y = same_shape("mse_loss", x, y)
    result: Tensor = ops.mse(x, y, reduction=reduction)
    return result


def binary_cross_entropy_with_logits(
    logits: TensorLike, targets: TensorLike, reduction: str = "mean"
) -> Tensor:
    """-(t log σ(x) + (1 - t) log(1 - σ(x))). Errors: ShapeError for two shapes."""
    x, t = same_shape("binary_cross_entropy_with_logits", logits, targets)
    result: Tensor = ops.binary_cross_entropy_with_logits(x, t, reduction=reduction)
    return result
