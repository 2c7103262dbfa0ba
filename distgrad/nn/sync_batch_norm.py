"""Batch normalisation over the batches of all ranks. Knows no rank: the bridge lends it the sum."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import NONE, Count, Fraction, NonNegative
from distgrad.nn.batchnorm import _BatchNorm
from distgrad.nn.functional.wrap import in_float32, wrap_real
from distgrad.nn.make import ParameterDType
from distgrad.nn.module import Module
from distgrad.nn.tree import MODULE
from distgrad.ops import join

_ALL_RANKS = NONE._replace(words="None (statistics are those of all ranks)")


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation with mean and variance of the global batch, (n, c, …) on every rank.

    Inside DistributedDataParallel the statistics are summed over all ranks, in forward and in
    backward, by counts, so that ranks may hold different numbers of samples; without it this is
    BatchNorm. It needs one logical shard per rank: a shard's forward pass waits for the others'.
    """

    axes = (2, 3, 4, 5)

    needs_every_rank = True

    def __init__(
        self,
        num_features: Count,
        eps: NonNegative = 1e-5,
        momentum: Fraction | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Annotated[None, _ALL_RANKS] = None,
        device: Device = None,
        dtype: ParameterDType = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias)
        self.process_group = process_group

    def forward(self, input: Array | Tensor) -> Tensor:
        """Normalise (n, num_features, …)."""
        if self._sum_over_ranks is None or not self.training:
            return super().forward(input)
        input = wrap_real(type(self).__name__, input)
        self.check(input)
        return self._over_all_ranks(input, self.weight, self.bias)

    @in_float32
    def _over_all_ranks(self, x: Any, weight: Any, bias: Any) -> Tensor:
        over_ranks: Any = self._sum_over_ranks
        over = (0, *range(2, x.ndim))
        column = (-1,) + (1,) * (x.ndim - 2)
        count = np.full(1, x.size // self.num_features, x.dtype)
        sums = over_ranks(join(np.sum(x, axis=over), count, axis=0))
        n = float(sums.array[-1])
        mean = sums[:-1] / n
        centred = x - np.reshape(mean, column)
        # A second sum, of what is left without the mean: E[x²] - E[x]² would cancel.
        var = over_ranks(np.sum(centred * centred, axis=over)) / n
        self._observe(x, mean.array, var.array, round(n))
        scale = 1 / np.sqrt(var + self.eps)
        scale = scale if weight is None else scale * weight
        y: Tensor = centred * np.reshape(scale, column)
        return y if bias is None else y + np.reshape(bias, column)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: None = None) -> Module:
        """Return ``module`` with each BatchNorm below it (or itself) replaced, its state kept.

        Errors: ShapeError for a ``process_group``: the statistics are those of all ranks.
        """
        if process_group is not None:
            raise ShapeError(
                "convert_sync_batchnorm: statistics are those of all ranks; leave out process_group"
            )
        return cls._converted(module, {})

    @classmethod
    def _converted(cls, module: Module, made: dict[int, Module]) -> Module:
        if id(module) in made:  # shared, or converted already
            return made[id(module)]
        made[id(module)] = module
        if isinstance(module, _BatchNorm) and not isinstance(module, cls):
            made[id(module)] = cls._of(module)
            return made[id(module)]
        for name, child in list(module._own(MODULE)):
            converted = cls._converted(child, made)
            if converted is not child:
                setattr(module, name, converted)
        return module

    @classmethod
    def _of(cls, norm: _BatchNorm) -> SyncBatchNorm:
        made = cls(
            norm.num_features,
            norm.eps,
            norm.momentum,
            norm.affine,
            norm.track_running_stats,
            bias=norm.bias is not None,
        )
        made.training = norm.training
        made.weight, made.bias = (
            norm.weight,
            norm.bias,
        )
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(made, name, getattr(norm, name))
        return made
