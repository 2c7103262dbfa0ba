"""Normalisation layers: names, shapes and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Array, Tensor
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn.module import Module, Parameter


class _BatchNorm(Module):
    """Batch normalisation over all axes but 1 (Ioffe & Szegedy 2015).

    In training the batch (a logical shard, under distgrad) is normalised with its own mean and
    variance, which also feed the running ones; in evaluation the running ones are used.
    """

    statistics = ("running_mean", "running_var")

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        self.register_buffer("running_mean", Tensor(np.zeros(num_features, np.float32)))
        self.register_buffer("running_var", Tensor(np.ones(num_features, np.float32)))
        self.register_buffer("num_batches_tracked", Tensor(np.array(0, np.int64)))

    axes: tuple[int, ...] = ()

    def forward(self, x: Any) -> Tensor:
        """Normalise (n, num_features, …)."""
        if x.ndim not in self.axes or x.shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__} expects (n, {self.num_features}, …) with "
                f"{' or '.join(map(str, self.axes))} axes; got {x.shape}"
            )
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        y, mean, var = F.batch_norm_training(x, self.weight, self.bias, eps=self.eps)
        n = x.size // self.num_features
        unbiased = var * np.asarray(n / max(n - 1, 1), var.dtype)
        self.observe({"running_mean": mean, "running_var": unbiased})
        return y

    def apply_statistics(self, statistics: Mapping[str, Array]) -> None:
        """running = (1 - momentum) running + momentum batch."""
        for name, value in statistics.items():
            running = getattr(self, name).data
            running += self.momentum * (value - running)
        self.num_batches_tracked.data += 1

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (n, c) or (n, c, l)."""

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (n, c, h, w)."""

    axes = (4,)


class LayerNorm(Module):
    """Normalisation over the last axes, ``normalized_shape`` (Ba et al. 2016)."""

    def __init__(
        self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5, bias: bool = True
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape, self.eps = tuple(shape), eps
        self.weight = Parameter(np.ones(shape, np.float32))
        self.bias = Parameter(np.zeros(shape, np.float32)) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Normalise the last axes."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.normalized_shape}, eps={self.eps}"
