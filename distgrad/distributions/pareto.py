"""Pareto: what is above a threshold falls off by a power."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.exponential import uniform
from distgrad.distributions.shared import above, broadcast_all, given, recorded, where_above


class Pareto(Distribution):
    """Numbers from ``scale`` on, of density alpha scale**alpha / x**(alpha + 1)."""

    has_rsample = True
    arg_constraints: ClassVar = {"alpha": constraints.positive, "scale": constraints.positive}

    def __init__(
        self, scale: TensorLike, alpha: TensorLike, validate_args: bool | None = None
    ) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """From ``scale`` on."""
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Tensor:
        """alpha scale / (alpha - 1); infinite for alpha ≤ 1."""
        a = above(self.alpha, 1)
        return where_above(self.alpha, 1, a * self.scale / (a - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        """``scale``."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """scale² alpha / ((alpha - 1)² (alpha - 2)); infinite for alpha ≤ 2."""
        a = above(self.alpha, 2)
        found = self.scale**2 * a / ((a - 1) ** 2 * (a - 2))
        return where_above(self.alpha, 2, found, math.inf)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Scale u ** (-1 / alpha)."""
        u = uniform(self._extended_shape(sample_shape), self.scale)
        return recorded(self.scale * np.exp(-np.log(u) / self.alpha))

    def log_prob(self, value: TensorLike) -> Tensor:
        """Log alpha + alpha log scale - (alpha + 1) log value."""
        x = self._value(value, self.scale)
        a = self.alpha
        return recorded(np.log(a) + a * np.log(self.scale) - (a + 1) * np.log(x))

    def cdf(self, value: TensorLike) -> Tensor:
        """1 - (scale / value) ** alpha."""
        x = self._value(value, self.scale)
        return recorded(-np.expm1(self.alpha * np.log(self.scale / x)))

    def icdf(self, value: TensorLike) -> Tensor:
        """Scale (1 - value) ** (-1 / alpha)."""
        return recorded(self.scale * np.exp(-np.log1p(-given(value)) / self.alpha))

    def entropy(self) -> Tensor:
        """log(scale / alpha) + 1 + 1 / alpha."""
        return recorded(np.log(self.scale / self.alpha) + (1 + np.reciprocal(self.alpha)))
