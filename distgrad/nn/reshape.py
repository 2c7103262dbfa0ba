"""Modules that change shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.kinds import Integer, sequence_of, whole
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.module import Module
from distgrad.ops.shape import flatten, unflatten


class Flatten(Module):
    """Axes ``start_dim`` to ``end_dim`` as one."""

    def __init__(self, start_dim: Integer = 1, end_dim: Integer = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: TensorLike) -> Tensor:
        """Reshape."""
        return wrap(flatten(wrap(input), self.start_dim, self.end_dim))

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


_PLACE = whole()._replace(words="a whole number, axes have no names")


class Unflatten(Module):
    """Axis ``dim`` as several of ``unflattened_size`` (one length may be -1)."""

    def __init__(
        self,
        dim: Annotated[int, _PLACE],
        unflattened_size: Annotated[Sequence[int], sequence_of(whole())],
    ) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: TensorLike) -> Tensor:
        """Reshape. Errors: ShapeError if the sizes do not make up the axis."""
        return wrap(unflatten(wrap(input), self.dim, self.unflattened_size))

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
