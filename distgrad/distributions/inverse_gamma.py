"""InverseGamma: one over a gamma number."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.gamma import Gamma
from distgrad.distributions.shared import above, recorded, where_above
from distgrad.distributions.transformed import TransformedDistribution
from distgrad.distributions.transforms import PowerTransform
from distgrad.ops.gamma import digamma, lgamma


class InverseGamma(TransformedDistribution):
    """1 / x of a Gamma(concentration, rate) number x."""

    arg_constraints: ClassVar = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }

    def __init__(
        self, concentration: TensorLike, rate: TensorLike, validate_args: bool | None = None
    ) -> None:
        base = Gamma(concentration, rate, validate_args)
        super().__init__(base, PowerTransform(-1.0), validate_args)

    @property
    def _gamma(self) -> Any:
        return self.base_dist

    @property
    def concentration(self) -> Tensor:
        """The gamma number's shape."""
        return recorded(self._gamma.concentration)

    @property
    def rate(self) -> Tensor:
        """The gamma number's rate: this one's scale."""
        return recorded(self._gamma.rate)

    @property
    def mean(self) -> Tensor:
        """Rate / (concentration - 1); infinite for a concentration of 1 or less."""
        a = above(self.concentration, 1)
        return where_above(self.concentration, 1, self.rate / (a - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        """Rate / (concentration + 1)."""
        found: Tensor = self.rate / (self.concentration + 1)
        return found

    @property
    def variance(self) -> Tensor:
        """rate² / ((concentration - 1)² (concentration - 2)); infinite for 2 or less."""
        a = above(self.concentration, 2)
        found = self.rate**2 / ((a - 1) ** 2 * (a - 2))
        return where_above(self.concentration, 2, found, math.inf)

    def entropy(self) -> Tensor:
        """a + log rate + log Γ(a) - (1 + a) ψ(a)."""
        a = self.concentration
        return recorded(a + np.log(self.rate) + lgamma(a) - (1 + a) * digamma(a))
