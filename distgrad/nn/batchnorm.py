"""Batch and instance normalisation: layers whose statistics follow the batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart
from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import Count, Fraction, NonNegative
from distgrad.nn import functional as F
from distgrad.nn.functional.norm import instance_norm_training, unbiased
from distgrad.nn.functional.wrap import wrap_real
from distgrad.nn.make import ParameterDType, buffer, constant, reset_affine_
from distgrad.nn.module import Module, Parameter


class _RunningNorm(Module):
    """What batch-norm and instance-norm share: channels, and statistics that follow batches."""

    axes: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight: Parameter | None
        self.bias: Parameter | None
        self.register_parameter("weight", constant(1, num_features) if affine else None)
        self.register_parameter("bias", constant(0, num_features) if affine and bias else None)
        buffers: dict[str, Any] = {"running_mean": None, "running_var": None}
        buffers["num_batches_tracked"] = None
        if track_running_stats:
            self.statistics = ("running_mean", "running_var")
            buffers["running_mean"] = buffer(0, num_features)
            buffers["running_var"] = buffer(1, num_features)
            buffers["num_batches_tracked"] = Tensor(np.array(0, np.int64))
        self.running_mean: Any
        self.running_var: Any
        self.num_batches_tracked: Any
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor)

    def reset_running_stats(self) -> None:
        """Let the running statistics start anew: mean 0, variance 1, no batch seen."""
        if self.track_running_stats:
            self.running_mean.array[...] = 0
            self.running_var.array[...] = 1
            self.num_batches_tracked.array[...] = 0

    def reset_parameters(self) -> None:
        """Set weight 1 and bias 0, and the running statistics anew."""
        self.reset_running_stats()
        reset_affine_(self)

    @apart
    def _observe(self, x: Array | Tensor, mean: Array, var: Array, n: int) -> None:
        if self.training and self.track_running_stats and x.size:
            self.observe({"running_mean": mean, "running_var": unbiased(var, n)})

    def _follow(self, statistics: Mapping[str, Array], momentum: float) -> None:
        for name, value in statistics.items():
            running = getattr(self, name).array
            running += momentum * (value - running)

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_RunningNorm):
    """Batch normalisation over all axes but 1 (Ioffe & Szegedy 2015).

    In training the batch (a logical shard, under distgrad) is normalised with its own mean and
    variance, which also feed the running ones; in evaluation the running ones are used. With
    ``momentum=None`` these are the plain average over all batches.
    """

    def __init__(
        self,
        num_features: Count,
        eps: NonNegative = 1e-5,
        momentum: Fraction | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Array | Tensor) -> Tensor:
        """Normalise (n, num_features, …)."""
        input = wrap_real(type(self).__name__, input)
        self.check(input)
        if not self.training and self.track_running_stats:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        if not self.eps > 0:
            raise ShapeError(
                f"{type(self).__name__}: eps={self.eps} keeps training from dividing by 0, and is "
                f"above 0 there"
            )
        y, mean, var = F.batch_norm_training(input, self.weight, self.bias, eps=self.eps)
        self._observe(input, mean, var, input.size // max(self.num_features, 1))
        return y

    def check(self, x: Array | Tensor) -> None:
        """Refuse an input of other axes or channels. Errors: ShapeError."""
        if x.ndim not in self.axes or x.shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__} expects (n, {self.num_features}, …) with "
                f"{' or '.join(map(str, self.axes))} axes; got {x.shape}"
            )

    def apply_statistics(self, statistics: Mapping[str, Array]) -> None:
        """running = (1 - momentum) running + momentum batch; momentum None is 1 / batches."""
        self.num_batches_tracked.array += 1
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / int(self.num_batches_tracked)
        self._follow(statistics, momentum)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (n, c) or (n, c, l)."""

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (n, c, h, w)."""

    axes = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (n, c, d, h, w)."""

    axes = (5,)


class _InstanceNorm(_RunningNorm):
    """Normalisation of each channel of each sample (Ulyanov et al. 2016).

    With ``track_running_stats`` evaluation uses running statistics, means over the samples; as in
    PyTorch the batches are not counted, so there is no ``momentum=None``.
    """

    def __init__(
        self,
        num_features: Count,
        eps: NonNegative = 1e-5,
        momentum: Fraction = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Device = None,
        dtype: ParameterDType = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)
        self._momentum = momentum

    def forward(self, input: Array | Tensor) -> Tensor:
        """Normalise (n, num_features, …) or, without n, (num_features, …)."""
        input = wrap_real(type(self).__name__, input)
        batched = input.ndim == self.axes[-1]
        if input.ndim not in self.axes or input.shape[1 if batched else 0] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__} expects (n, {self.num_features}, …) with {self.axes[-1]} "
                f"axes, or one fewer without n; got {input.shape}"
            )
        many = input if batched else np.expand_dims(input, 0)
        if not self.track_running_stats:
            y = F.instance_norm(many, None, None, self.weight, self.bias, eps=self.eps)
        elif not self.training:
            y = F.batch_norm(
                many, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        else:
            y, mean, var = instance_norm_training(many, self.weight, self.bias, self.eps)
            self._observe(input, mean, var, many.size // max(many.shape[0] * many.shape[1], 1))
        return y if batched else y.squeeze(0)

    def apply_statistics(self, statistics: Mapping[str, Array]) -> None:
        """running = (1 - momentum) running + momentum batch."""
        self._follow(statistics, self._momentum)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (n, c, l) or (c, l)."""

    axes = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (n, c, h, w) or (c, h, w)."""

    axes = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (n, c, d, h, w) or (c, d, h, w)."""

    axes = (4, 5)
