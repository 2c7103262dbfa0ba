"""Dropout as modules."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn.module import Module


class Dropout(Module):
    """Zero elements with probability ``p`` in training and scale the rest by 1 / (1 - p).

    The mask is keyed by seed, step, shard and call: the same on any number of ranks.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ShapeError(f"Dropout: p must be in [0, 1); got {p}")
        self.p = p

    def forward(self, x: Any) -> Tensor:
        """Drop elements in training; pass through in evaluation."""
        return F.dropout(x, self.p, training=self.training)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"p={self.p}"
