"""Layers with parameters: names, shapes and defaults are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Array, Tensor
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.module import Module, Parameter


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _empty(*shape: int) -> Parameter:
    return Parameter(np.zeros(shape, np.float32))


def _uniform_bias(size: int, fan_in: int) -> Parameter:
    bias = _empty(size)
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    init.uniform_(bias, -bound, bound)
    return bias


class Linear(Module):
    """y = x Wᵀ + b: (…, in_features) to (…, out_features); W is (out_features, in_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = _empty(out_features, in_features)
        init.kaiming_uniform_(self.weight)
        self.bias = _uniform_bias(out_features, in_features) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Map the last axis."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Conv2d(Module):
    """2-D cross-correlation: (n, in, h, w) to (n, out, h', w').

    The weight is (out, in / groups, *kernel). Errors: ShapeError for groups that do not divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"Conv2d: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        kernel = _pair(kernel_size)
        self.settings: dict[str, Any] = {
            "stride": _pair(stride),
            "padding": _pair(padding),
            "dilation": _pair(dilation),
            "groups": groups,
        }
        self.weight = _empty(out_channels, in_channels // groups, *kernel)
        init.kaiming_uniform_(self.weight)
        fan_in = in_channels // groups * kernel[0] * kernel[1]
        self.bias = _uniform_bias(out_channels, fan_in) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Convolve (n, in, h, w)."""
        return F.conv2d(x, self.weight, self.bias, **self.settings)

    def extra_repr(self) -> str:
        """Return the settings."""
        out, inner, *kernel = self.weight.shape
        inner *= self.settings["groups"]
        rest = ", ".join(f"{k}={v}" for k, v in self.settings.items())
        return f"{inner}, {out}, kernel_size={tuple(kernel)}, {rest}, bias={self.bias is not None}"


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


class Embedding(Module):
    """A table of vectors: integers (…) to (…, embedding_dim); weight (num_embeddings, dim)."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.weight = _empty(num_embeddings, embedding_dim)
        init.normal_(self.weight)

    def forward(self, indices: Any) -> Tensor:
        """Look up rows."""
        return F.embedding(indices, self.weight)

    def extra_repr(self) -> str:
        """Return the settings."""
        return ", ".join(map(str, self.weight.shape))
