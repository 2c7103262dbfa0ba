"""Losses as modules."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.nn import functional as F
from distgrad.nn.module import Module


class MSELoss(Module):
    """The mean of (x - y)²."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, x: Any, y: Any) -> Tensor:
        """Compare two tensors of one shape."""
        return F.mse_loss(x, y, reduction=self.reduction)


class CrossEntropyLoss(Module):
    """Softmax cross-entropy of logits (n, c, …) and labels (n, …)."""

    def __init__(
        self, reduction: str = "mean", ignore_index: int = -100, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "reduction": reduction,
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
        }

    def forward(self, logits: Any, labels: Any) -> Tensor:
        """Compare logits with integer labels."""
        return F.cross_entropy(logits, labels, **self.settings)


class BCEWithLogitsLoss(Module):
    """Binary cross-entropy of logits and targets in [0, 1], of one shape."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, logits: Any, targets: Any) -> Tensor:
        """Compare logits with targets."""
        return F.binary_cross_entropy_with_logits(logits, targets, reduction=self.reduction)
