"""FisherSnedecor: the F distribution, the quotient of two chi-squared numbers."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.gamma import Gamma
from distgrad.distributions.shared import above, broadcast_all, inside, recorded, tiny, where_above
from distgrad.ops.gamma import lgamma


class FisherSnedecor(Distribution):
    """(x / df1) / (y / df2) of chi-squared numbers x and y of ``df1`` and ``df2`` degrees."""

    has_rsample = True
    arg_constraints: ClassVar = {"df1": constraints.positive, "df2": constraints.positive}

    def __init__(self, df1: TensorLike, df2: TensorLike, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """All positive numbers."""
        return constraints.positive

    @property
    def mean(self) -> Tensor:
        """df2 / (df2 - 2); NaN for df2 ≤ 2."""
        d = above(self.df2, 2)
        return where_above(self.df2, 2, d / (d - 2), math.nan)

    @property
    def mode(self) -> Tensor:
        """(df1 - 2) / df1 · df2 / (df2 + 2); NaN for df1 ≤ 2."""
        found = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return where_above(self.df1, 2, found, math.nan)

    @property
    def variance(self) -> Tensor:
        """2 df2² (df1 + df2 - 2) / (df1 (df2 - 2)² (df2 - 4)); NaN for df2 ≤ 4."""
        d = above(self.df2, 4)
        found = 2 * d**2 * (self.df1 + d - 2) / (self.df1 * (d - 2) ** 2 * (d - 4))
        return where_above(self.df2, 4, found, math.nan)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """The quotient of two gamma numbers of mean 1."""
        one, two = (
            Gamma(0.5 * df, 0.5 * df, validate_args=False).rsample(sample_shape)
            for df in (self.df1, self.df2)
        )
        found: Tensor = inside(one / two, low=tiny(self.df1.dtype))
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """½ df1 log r + (½ df1 - 1) log x - ½ (df1 + df2) log(1 + r x) - log B, r = df1 / df2."""
        x, a, b = self._value(value, self.df1), 0.5 * self.df1, 0.5 * self.df2
        r = self.df1 / self.df2
        log_beta = lgamma(a) + lgamma(b) - lgamma(a + b)
        return recorded(a * np.log(r) + (a - 1) * np.log(x) - (a + b) * np.log1p(r * x) - log_beta)
