"""Normalisation layers without statistics: names, shapes and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import Count, Counts, Integer, NonNegative, Size
from distgrad.nn import functional as F
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.make import ParameterDType, constant, reset_affine_
from distgrad.nn.module import Module, Parameter


class GroupNorm(Module):
    """Normalisation of (n, c, …) over groups of channels and what follows them (Wu & He 2018).

    Errors: ShapeError for a ``num_groups`` that does not divide ``num_channels``.
    """

    def __init__(
        self,
        num_groups: Integer,
        num_channels: Count,
        eps: NonNegative = 1e-5,
        affine: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ShapeError(
                f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}"
            )
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.affine = affine
        self.weight: Parameter | None
        self.bias: Parameter | None
        self.register_parameter("weight", constant(1, num_channels) if affine else None)
        self.register_parameter("bias", constant(0, num_channels) if affine and bias else None)

    def reset_parameters(self) -> None:
        """Set weight 1 and bias 0."""
        reset_affine_(self)

    def forward(self, input: Array | Tensor) -> Tensor:
        """Normalise (n, num_channels, …)."""
        input = wrap(input)
        if input.ndim < 2 or input.shape[1] != self.num_channels:
            raise ShapeError(f"GroupNorm expects (n, {self.num_channels}, …); got {input.shape}")
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LayerNorm(Module):
    """Normalisation over the last axes, ``normalized_shape`` (Ba et al. 2016)."""

    def __init__(
        self,
        normalized_shape: Counts,
        eps: NonNegative = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        self.normalized_shape, self.eps = _shape(normalized_shape), eps
        self.elementwise_affine = elementwise_affine
        shape, shifted = self.normalized_shape, elementwise_affine and bias
        self.weight: Parameter | None
        self.bias: Parameter | None
        self.register_parameter("weight", constant(1, *shape) if elementwise_affine else None)
        self.register_parameter("bias", constant(0, *shape) if shifted else None)

    def reset_parameters(self) -> None:
        """Set weight 1 and bias 0."""
        reset_affine_(self)

    def forward(self, input: TensorLike) -> Tensor:
        """Normalise the last axes."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Division of the last axes by their root mean square (Zhang & Sennrich 2019).

    ``eps`` is that of the input's dtype if None.
    """

    def __init__(
        self,
        normalized_shape: Counts,
        eps: NonNegative | None = None,
        elementwise_affine: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        self.normalized_shape, self.eps = _shape(normalized_shape), eps
        self.elementwise_affine = elementwise_affine
        shape = self.normalized_shape
        self.weight: Parameter | None
        self.register_parameter("weight", constant(1, *shape) if elementwise_affine else None)

    def reset_parameters(self) -> None:
        """Set weight 1."""
        reset_affine_(self)

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise the last axes."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class LocalResponseNorm(Module):
    """Division by the squares of ``size`` neighbouring channels (Krizhevsky et al. 2012)."""

    def __init__(self, size: Size, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: TensorLike) -> Tensor:
        """Normalise (n, c, …)."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """Division of images (n, c, h, w) by the squares of neighbouring channels, PyTorch's older one.

    x / (k + alpha / size · Σ x²)^beta over (size - 1) // 2 channels on either side and, as in
    PyTorch, over the first channel, which is never dropped from the sum: LocalResponseNorm is
    the one of the paper.
    """

    def __init__(self, size: Size, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__(size, alpha, beta, k)

    def forward(self, input: TensorLike) -> Tensor:
        """Normalise. Errors: ShapeError for another number of axes."""
        x = wrap(input)
        if x.ndim != 4:
            raise ShapeError(f"CrossMapLRN2d expects (n, c, h, w); got {x.shape}")
        n, c, h, w = x.shape
        at, near = np.arange(c), (self.size - 1) // 2
        taken = np.abs(at[:, None] - at) <= near
        taken[:, :1] = True
        squares: Any = np.reshape(x * x, (n, c, h * w))
        total: Any = np.reshape(fixed(taken.astype(x.dtype)) @ squares, x.shape)
        y: Tensor = x / (total * (self.alpha / self.size) + self.k) ** self.beta
        return y


def _shape(lengths: int | Sequence[int]) -> tuple[int, ...]:
    return (lengths,) if isinstance(lengths, int) else tuple(lengths)
