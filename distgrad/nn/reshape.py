"""Modules that change shapes alone."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.nn.module import Module
from distgrad.ops.shape import flatten


class Flatten(Module):
    """Axes ``start_dim`` to ``end_dim`` as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Tensor:
        """Reshape."""
        return flatten(x if isinstance(x, Tensor) else Tensor(x), self.start_dim, self.end_dim)
