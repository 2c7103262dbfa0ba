"""VonMises: angles about a mean."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from distgrad.autograd.stream import lent_generator
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.beside import beside
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.shared import broadcast_all, recorded
from distgrad.ops.bessel import i0e, i1e


class VonMises(Distribution):
    """Angles in radians about ``loc``, of density exp(concentration · cos(x - loc)) / 2π I₀."""

    arg_constraints: ClassVar = {"loc": constraints.real, "concentration": constraints.positive}

    def __init__(
        self, loc: TensorLike, concentration: TensorLike, validate_args: bool | None = None
    ) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """All real numbers, as angles."""
        return constraints.real

    @property
    def mean(self) -> Tensor:
        """``loc``."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """``loc``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The circular variance, 1 - I₁ / I₀."""
        found: Tensor = 1 - i1e(self.concentration) / i0e(self.concentration)
        return found

    @beside()
    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw angles from -π to π (Best & Fisher 1979)."""
        center, k = (p.array.astype(np.float64) for p in (self.loc, self.concentration))
        drawn = lent_generator().vonmises(0.0, k, self._extended_shape(sample_shape))
        wrapped = np.mod(drawn + center + math.pi, 2 * math.pi) - math.pi
        return Tensor(np.asarray(wrapped).astype(self.loc.dtype))

    def log_prob(self, value: TensorLike) -> Tensor:
        """Concentration · (cos(value - loc) - 1) - log 2π e^-k I₀(k)."""
        x, k = self._value(value, self.loc), self.concentration
        return recorded(k * (np.cos(x - self.loc) - 1) - math.log(2 * math.pi) - np.log(i0e(k)))
