"""Kumaraswamy: much like Beta, with quantiles in closed form."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.exponential import Uniform
from distgrad.distributions.shared import EULER, broadcast_all, broadcast_to, constant, recorded
from distgrad.distributions.transformed import TransformedDistribution
from distgrad.distributions.transforms import AffineTransform, PowerTransform
from distgrad.ops.gamma import digamma, lgamma


class Kumaraswamy(TransformedDistribution):
    """(1 - u ** (1 / concentration0)) ** (1 / concentration1) of an even u in (0, 1)."""

    arg_constraints: ClassVar = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }

    def __init__(
        self,
        concentration1: TensorLike,
        concentration0: TensorLike,
        validate_args: bool | None = None,
    ) -> None:
        a, b = broadcast_all(concentration1, concentration0)
        self.concentration1, self.concentration0 = a, b
        base = Uniform(constant(0.0, a), constant(1.0, a), validate_args=validate_args)
        steps = [
            PowerTransform(np.reciprocal(b)),
            AffineTransform(1.0, -1.0),
            PowerTransform(np.reciprocal(a)),
        ]
        super().__init__(base, steps, validate_args)

    def expand(self, batch_shape: Any) -> Kumaraswamy:
        """Return the distribution with parameters broadcast to ``batch_shape``."""
        a, b = (broadcast_to(x, tuple(batch_shape)) for x in self._both)
        return self._checked_like(Kumaraswamy(a, b, validate_args=False))

    @property
    def _both(self) -> tuple[Tensor, Tensor]:
        return self.concentration1, self.concentration0

    @property
    def support(self) -> constraints.Constraint:
        """Between 0 and 1."""
        return constraints.unit_interval

    def _moment(self, n: int) -> Tensor:
        """b B(1 + n / a, b)."""
        a, b = self._both
        one = 1 + n / a
        return recorded(np.exp(np.log(b) + lgamma(one) + lgamma(b) - lgamma(one + b)))

    @property
    def mean(self) -> Tensor:
        """b B(1 + 1 / a, b)."""
        return self._moment(1)

    @property
    def mode(self) -> Tensor:
        """((a - 1) / (a b - 1)) ** (1 / a); NaN unless a and b are 1 or more, one of them more."""
        a, b = self._both
        found = (a >= 1) & (b >= 1) & (a * b > 1)
        power = np.where(found, (a - 1) / np.where(found, a * b - 1, 1.0), 1.0)
        inner = np.where(found, power ** np.reciprocal(a), math.nan)
        return recorded(inner.astype(a.dtype))

    @property
    def variance(self) -> Tensor:
        """The second moment less the square of the mean."""
        found: Tensor = self._moment(2) - self.mean**2
        return found

    def entropy(self) -> Tensor:
        """1 - 1/b + (1 - 1/a) (ψ(b + 1) + γ) - log a b."""
        a, b = self._both
        harmonic = digamma(b + 1) + EULER
        return recorded(1 - 1 / b + (1 - 1 / a) * harmonic - np.log(a) - np.log(b))
