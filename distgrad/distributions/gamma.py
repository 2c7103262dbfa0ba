"""Gamma, Chi2, Beta, Dirichlet: their samples carry gradients to the parameters (pathwise.py)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.pathwise import dirichlet, standard_gamma
from distgrad.distributions.shared import broadcast_all, inside, parameter, recorded, tiny
from distgrad.errors import ShapeError
from distgrad.ops.exponential import xlogy
from distgrad.ops.gamma import digamma, igamma, lgamma


class Gamma(Distribution):
    """The gamma distribution of shape ``concentration`` and ``rate`` (the inverse scale)."""

    has_rsample = True
    arg_constraints: ClassVar = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }

    def __init__(
        self, concentration: TensorLike, rate: TensorLike, validate_args: bool | None = None
    ) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """0 and all positive numbers."""
        return constraints.nonnegative

    @property
    def mean(self) -> Tensor:
        """concentration / rate."""
        found: Tensor = self.concentration / self.rate
        return found

    @property
    def mode(self) -> Tensor:
        """(concentration - 1) / rate, at least 0."""
        found: Tensor = np.clip((self.concentration - 1) / self.rate, 0, None)
        return found

    @property
    def variance(self) -> Tensor:
        """concentration / rate²."""
        found: Tensor = self.concentration / (self.rate * self.rate)
        return found

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """A standard gamma number over ``rate``."""
        drawn = standard_gamma(self.concentration, self._extended_shape(sample_shape)) / self.rate
        found: Tensor = inside(drawn, low=tiny(drawn.dtype))
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """a log rate + (a - 1) log value - rate · value - log Γ(a)."""
        x, a = self._value(value, self.rate), self.concentration
        found: Tensor = xlogy(a, self.rate) + xlogy(a - 1, x) - self.rate * x - lgamma(a)
        return found

    def cdf(self, value: TensorLike) -> Tensor:
        """P(concentration, rate · value)."""
        found: Tensor = igamma(self.concentration, self.rate * self._value(value, self.rate))
        return found

    def entropy(self) -> Tensor:
        """a - log rate + log Γ(a) + (1 - a) ψ(a)."""
        a = self.concentration
        found: Tensor = a - np.log(self.rate) + lgamma(a) + (1 - a) * digamma(a)
        return found


class Chi2(Gamma):
    """The sum of the squares of ``df`` standard normal numbers."""

    arg_constraints: ClassVar = {"df": constraints.positive}

    def __init__(self, df: TensorLike, validate_args: bool | None = None) -> None:
        [df] = broadcast_all(df)
        self.df = df
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    def expand(self, batch_shape: Any) -> Chi2:
        """Return the distribution with ``df`` broadcast to ``batch_shape``."""
        wide = np.broadcast_to(self.df, tuple(batch_shape))
        return self._checked_like(Chi2(wide, validate_args=False))


class Dirichlet(Distribution):
    """The Dirichlet distribution: vectors of positive numbers that sum up to 1."""

    has_rsample = True
    arg_constraints: ClassVar = {"concentration": constraints.independent(constraints.positive, 1)}

    def __init__(self, concentration: TensorLike, validate_args: bool | None = None) -> None:
        self.concentration = a = parameter(concentration)
        if a.ndim < 1:
            raise ShapeError("Dirichlet: `concentration` must be at least one-dimensional")
        super().__init__(a.shape[:-1], a.shape[-1:], validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """Vectors of probabilities."""
        return constraints.simplex

    @property
    def mean(self) -> Tensor:
        """a / Σ a."""
        a = self.concentration
        found: Tensor = a / np.sum(a, axis=-1, keepdims=True)
        return found

    @property
    def mode(self) -> Tensor:
        """(a - 1) / Σ (a - 1), those below 0 as 0; the first corner where all a are below 1."""
        a = self.concentration
        above = np.clip(a - 1, 0, None)
        total = np.sum(above, axis=-1, keepdims=True)
        corner = np.all(a < 1, axis=-1, keepdims=True)
        inner = above / np.where(corner, 1, total)
        first = fixed((np.arange(a.shape[-1]) == 0).astype(a.dtype))
        found: Tensor = np.where(corner, first, inner)
        return found

    @property
    def variance(self) -> Tensor:
        """a (Σ - a) / (Σ² (Σ + 1))."""
        a = self.concentration
        total = np.sum(a, axis=-1, keepdims=True)
        found: Tensor = a * (total - a) / (total * total * (total + 1))
        return found

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """A vector of gamma numbers over their sum."""
        return dirichlet(self.concentration, self._extended_shape(sample_shape))

    def log_prob(self, value: TensorLike) -> Tensor:
        """Σ (a - 1) log value + log Γ(Σ a) - Σ log Γ(a)."""
        return _dirichlet_log_prob(self.concentration, self._value(value, self.concentration))

    def entropy(self) -> Tensor:
        """Σ log Γ(a) - log Γ(Σ a) - (k - Σ a) ψ(Σ a) - Σ (a - 1) ψ(a)."""
        return _dirichlet_entropy(self.concentration)


class Beta(Distribution):
    """The beta distribution on (0, 1) with exponents ``concentration1`` - 1 and …``0`` - 1."""

    has_rsample = True
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
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    @property
    def _both(self) -> Tensor:
        found: Tensor = recorded(np.stack([self.concentration1, self.concentration0], axis=-1))
        return found

    @property
    def support(self) -> constraints.Constraint:
        """Between 0 and 1."""
        return constraints.unit_interval

    @property
    def mean(self) -> Tensor:
        """a / (a + b)."""
        found: Tensor = self.concentration1 / (self.concentration1 + self.concentration0)
        return found

    @property
    def mode(self) -> Tensor:
        """That of the Dirichlet distribution of two."""
        return Dirichlet(self._both, validate_args=False).mode[..., 0]

    @property
    def variance(self) -> Tensor:
        """a b / ((a + b)² (a + b + 1))."""
        total = self.concentration1 + self.concentration0
        found: Tensor = self.concentration1 * self.concentration0 / (total * total * (total + 1))
        return found

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """The first of two gamma numbers over their sum."""
        both = self._both
        shape = (*self._extended_shape(sample_shape), 2)
        return dirichlet(both, shape)[..., 0]

    def log_prob(self, value: TensorLike) -> Tensor:
        """(a - 1) log value + (b - 1) log(1 - value) - log B(a, b)."""
        x = self._value(value, self.concentration1)
        pair = np.stack([x, 1.0 - x], axis=-1)
        return _dirichlet_log_prob(self._both, pair)

    def entropy(self) -> Tensor:
        """That of the Dirichlet distribution of two."""
        return _dirichlet_entropy(self._both)


def _dirichlet_log_prob(a: Tensor, x: Any) -> Tensor:
    found: Tensor = (
        np.sum(xlogy(a - 1.0, x), axis=-1) + lgamma(np.sum(a, axis=-1)) - np.sum(lgamma(a), axis=-1)
    )
    return found


def _dirichlet_entropy(a: Tensor) -> Tensor:
    k, total = a.shape[-1], np.sum(a, axis=-1)
    found: Tensor = (
        np.sum(lgamma(a), axis=-1)
        - lgamma(total)
        - (k - total) * digamma(total)
        - np.sum((a - 1.0) * digamma(a), axis=-1)
    )
    return found
