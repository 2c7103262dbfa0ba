"""GeneralizedPareto: what is above a high threshold, of nearly any distribution (Pickands 1975)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.exponential import uniform
from distgrad.distributions.shared import broadcast_all, eps, given, recorded, tiny


class GeneralizedPareto(Distribution):
    """Numbers from ``loc`` on: exponential for a concentration of 0, heavy-tailed above it.

    Below it they end at loc - scale / concentration.
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }

    def __init__(
        self,
        loc: TensorLike,
        scale: TensorLike,
        concentration: TensorLike,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """From ``loc`` to loc - scale / concentration, if that is negative, else without end."""
        k = self.concentration
        with np.errstate(divide="ignore"):
            end = np.where(k < 0, self.loc - self.scale / k, math.inf)
        return constraints.interval(self.loc, end.astype(k.dtype))

    @property
    def mean(self) -> Tensor:
        """Loc + scale / (1 - concentration); NaN for a concentration of 1 or more."""
        k = self._below(1)
        return self._where_below(1, self.loc + self.scale / (1 - k))

    @property
    def mode(self) -> Tensor:
        """``loc``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """scale² / ((1 - k)² (1 - 2k)); NaN for a concentration of ½ or more."""
        k = self._below(0.5)
        return self._where_below(0.5, self.scale**2 / ((1 - k) ** 2 * (1 - 2 * k)))

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """The quantile of a uniform number."""
        return self.icdf(uniform(self._extended_shape(sample_shape), self.loc))

    def log_prob(self, value: TensorLike) -> Tensor:
        """-(1 + 1/k) log(1 + k z) - log scale, of k = 0: -z - log scale."""
        z = self._z(value)
        k, zero = self._safe()
        y = 1 + 1 / k
        inner = np.where(y == 0, 0.0, y * np.log1p(k * z))
        return recorded(-np.log(self.scale) - np.where(zero, z, inner))

    def log_survival_function(self, value: TensorLike) -> Tensor:
        """Return the log of the probability of a sample beyond ``value``."""
        return self._log_survival(self._z(value))

    def log_cdf(self, value: TensorLike) -> Tensor:
        """Return the log of the probability of a sample up to ``value``."""
        return recorded(np.log1p(-np.exp(self.log_survival_function(value))))

    def cdf(self, value: TensorLike) -> Tensor:
        """1 - (1 + k z) ** (-1/k), of k = 0: 1 - exp(-z)."""
        return recorded(-np.expm1(self.log_survival_function(value)))

    def icdf(self, value: TensorLike) -> Tensor:
        """Loc + scale ((1 - value) ** -k - 1) / k, of k = 0: loc - scale log(1 - value)."""
        logs = np.log1p(-given(value))
        k, zero = self._safe()
        z = np.where(zero, -logs, np.expm1(-k * logs) / k)
        return recorded(self.loc + self.scale * z)

    def entropy(self) -> Tensor:
        """Log scale + concentration + 1."""
        return recorded(np.log(self.scale) + self.concentration + 1)

    def _z(self, value: TensorLike) -> Tensor:
        return recorded((self._value(value, self.loc) - self.loc) / self.scale)

    def _log_survival(self, z: Tensor) -> Tensor:
        k, zero = self._safe()
        return recorded(np.where(zero, -z, -np.log1p(k * z) / k))

    def _safe(self) -> tuple[Tensor, Any]:
        """The concentration, 1 where it is too small to divide by, and where that is."""
        k = self.concentration
        zero = np.absolute(k) < tiny(k.dtype) / eps(k.dtype)
        return recorded(np.where(zero, 1.0, k).astype(k.dtype)), zero

    def _below(self, bound: float) -> Tensor:
        k = self.concentration
        return recorded(np.where(k < bound, k, bound - 1.0).astype(k.dtype))

    def _where_below(self, bound: float, moment: Tensor) -> Tensor:
        found = np.where(self.concentration < bound, moment, math.nan)
        return recorded(found.astype(moment.dtype))
