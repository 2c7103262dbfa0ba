"""Activations as modules."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.nn import functional as F
from distgrad.nn.module import Module


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        """Apply it elementwise."""
        return F.relu(x)


class GELU(Module):
    """x Φ(x) (Hendrycks & Gimpel 2016); ``approximate="tanh"`` is the faster form."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        """Apply it elementwise."""
        return F.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"approximate={self.approximate!r}"


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Tensor:
        """Apply it elementwise."""
        return F.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Tensor:
        """Apply it elementwise."""
        return F.sigmoid(x)
