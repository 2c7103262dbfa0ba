"""Exponential, Laplace, Gumbel, Weibull, Uniform: quantiles of a uniform number."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd import random
from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Shape
from distgrad.distributions import constraints
from distgrad.distributions.beside import beside
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.shared import EULER, broadcast_all, constant, eps, given, recorded, tiny
from distgrad.errors import ShapeError
from distgrad.ops.gamma import lgamma


def uniform(shape: Shape, like: Tensor) -> Tensor:
    """Numbers inside (0, 1), of the dtype of ``like``."""
    return _uniform(shape, like.dtype)


@apart
@keeps_form
def _uniform(shape: Shape, dtype: Any) -> Tensor:
    drawn = random.uniform(shape, dtype=dtype)
    return Tensor(np.clip(drawn.array, tiny(dtype), 1 - eps(dtype) / 2))


class Exponential(Distribution):
    """Waiting times of events that come ``rate`` times per unit."""

    has_rsample = True
    arg_constraints: ClassVar = {"rate": constraints.positive}

    def __init__(self, rate: TensorLike, validate_args: bool | None = None) -> None:
        [self.rate] = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """0 and all positive numbers."""
        return constraints.nonnegative

    @property
    def mean(self) -> Tensor:
        """1 / rate."""
        found: Tensor = recorded(np.reciprocal(self.rate))
        return found

    @property
    def mode(self) -> Tensor:
        """0."""
        return constant(0.0, self.rate)

    @property
    def stddev(self) -> Tensor:
        """1 / rate."""
        return self.mean

    @property
    def variance(self) -> Tensor:
        """1 / rate²."""
        found: Tensor = self.rate**-2
        return found

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """-log of a uniform number, over ``rate``."""
        found: Tensor = recorded(
            -np.log(uniform(self._extended_shape(sample_shape), self.rate)) / self.rate
        )
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """Log rate - rate · value."""
        found: Tensor = np.log(self.rate) - self.rate * self._value(value, self.rate)
        return found

    def cdf(self, value: TensorLike) -> Tensor:
        """1 - exp(-rate · value)."""
        found: Tensor = 1 - np.exp(-self.rate * self._value(value, self.rate))
        return found

    def icdf(self, value: TensorLike) -> Tensor:
        """-log(1 - value) / rate."""
        found: Tensor = -np.log1p(-given(value)) / self.rate
        return found

    def entropy(self) -> Tensor:
        """1 - log rate."""
        found: Tensor = recorded(1.0 - np.log(self.rate))
        return found


class _LocationScale(Distribution):
    """``loc`` and ``scale`` of one shape."""

    has_rsample = True
    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}

    def __init__(
        self, loc: TensorLike, scale: TensorLike, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """All real numbers."""
        return constraints.real

    @property
    def mode(self) -> Tensor:
        """``loc``."""
        return self.loc


class Laplace(_LocationScale):
    """Two exponential distributions back to back about ``loc``."""

    @property
    def mean(self) -> Tensor:
        """``loc``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """2 scale²."""
        found: Tensor = 2 * (self.scale * self.scale)
        return found

    @property
    def stddev(self) -> Tensor:
        """√2 scale."""
        found: Tensor = math.sqrt(2) * self.scale
        return found

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """loc - scale sign(u) log(1 - |u|) of a uniform u in (-1, 1)."""
        u = 2 * uniform(self._extended_shape(sample_shape), self.loc) - 1
        least = -1 + eps(u.dtype)
        u = np.maximum(u, fixed(np.asarray(least, u.dtype)))
        found: Tensor = self.loc - self.scale * (np.sign(u) * np.log1p(-np.absolute(u)))
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """-|value - loc| / scale - log 2 scale."""
        x = self._value(value, self.loc)
        found: Tensor = -np.log(2 * self.scale) - np.absolute(x - self.loc) / self.scale
        return found

    def cdf(self, value: TensorLike) -> Tensor:
        """½ exp(-|z|) below ``loc``, 1 less it above."""
        d = self._value(value, self.loc) - self.loc
        found: Tensor = 0.5 - 0.5 * np.sign(d) * np.expm1(-np.absolute(d) / self.scale)
        return found

    def icdf(self, value: TensorLike) -> Tensor:
        """loc - scale sign(p - ½) log(1 - 2 |p - ½|)."""
        term = given(value) - 0.5
        found: Tensor = self.loc - self.scale * np.sign(term) * np.log1p(-2 * np.absolute(term))
        return found

    def entropy(self) -> Tensor:
        """1 + log 2 scale."""
        found: Tensor = 1 + np.log(2 * self.scale)
        return found


class Gumbel(_LocationScale):
    """The largest of many: exp(-exp(-(x - loc) / scale)) is its distribution function."""

    @property
    def mean(self) -> Tensor:
        """Loc + γ scale, γ Euler's number."""
        found: Tensor = self.loc + self.scale * EULER
        return found

    @property
    def stddev(self) -> Tensor:
        """π / √6 scale."""
        found: Tensor = math.pi / math.sqrt(6) * self.scale
        return found

    @property
    def variance(self) -> Tensor:
        """π² / 6 scale²."""
        found: Tensor = self.stddev * self.stddev
        return found

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """loc - scale log(-log u)."""
        u = uniform(self._extended_shape(sample_shape), self.loc)
        found: Tensor = self.loc - self.scale * np.log(-np.log(u))
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """-z - exp(-z) - log scale."""
        y = (self.loc - self._value(value, self.loc)) / self.scale
        found: Tensor = y - np.exp(y) - np.log(self.scale)
        return found

    def cdf(self, value: TensorLike) -> Tensor:
        """exp(-exp(-z))."""
        y = (self.loc - self._value(value, self.loc)) / self.scale
        found: Tensor = np.exp(-np.exp(y))
        return found

    def icdf(self, value: TensorLike) -> Tensor:
        """loc - scale log(-log value)."""
        found: Tensor = self.loc - self.scale * np.log(-np.log(given(value)))
        return found

    def entropy(self) -> Tensor:
        """Log scale + 1 + γ."""
        found: Tensor = recorded(np.log(self.scale) + (1 + EULER))
        return found


class Weibull(Distribution):
    """A power of an exponential number: 1 - exp(-(x / scale) ** concentration)."""

    has_rsample = True
    arg_constraints: ClassVar = {
        "scale": constraints.positive,
        "concentration": constraints.positive,
    }

    def __init__(
        self, scale: TensorLike, concentration: TensorLike, validate_args: bool | None = None
    ) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """All positive numbers."""
        return constraints.positive

    @property
    def mean(self) -> Tensor:
        """Scale Γ(1 + 1/k)."""
        found: Tensor = self.scale * np.exp(lgamma(1 + np.reciprocal(self.concentration)))
        return found

    @property
    def mode(self) -> Tensor:
        """scale ((k - 1) / k) ** (1 / k)."""
        k = self.concentration
        found: Tensor = self.scale * ((k - 1) / k) ** np.reciprocal(k)
        return found

    @property
    def variance(self) -> Tensor:
        """scale² (Γ(1 + 2/k) - Γ(1 + 1/k)²)."""
        i = np.reciprocal(self.concentration)
        found: Tensor = self.scale**2 * (np.exp(lgamma(1 + 2 * i)) - np.exp(2 * lgamma(1 + i)))
        return found

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """scale (-log u) ** (1 / k)."""
        return self.icdf(uniform(self._extended_shape(sample_shape), self.scale))

    def log_prob(self, value: TensorLike) -> Tensor:
        """log(k / scale) + (k - 1) log(value / scale) - (value / scale) ** k."""
        z = self._value(value, self.scale) / self.scale
        k = self.concentration
        found: Tensor = np.log(k / self.scale) + (k - 1) * np.log(z) - z**k
        return found

    def cdf(self, value: TensorLike) -> Tensor:
        """1 - exp(-(value / scale) ** k)."""
        z = self._value(value, self.scale) / self.scale
        found: Tensor = -np.expm1(-(z**self.concentration))
        return found

    def icdf(self, value: TensorLike) -> Tensor:
        """scale (-log(1 - value)) ** (1 / k)."""
        power = np.reciprocal(self.concentration)
        found: Tensor = self.scale * (-np.log1p(-given(value))) ** power
        return found

    def entropy(self) -> Tensor:
        """γ (1 - 1/k) + log(scale / k) + 1."""
        i = np.reciprocal(self.concentration)
        found: Tensor = EULER * (1 - i) + np.log(self.scale * i) + 1
        return found


class Uniform(Distribution):
    """Evenly spread over [low, high)."""

    has_rsample = True
    arg_constraints: ClassVar = {"low": constraints.dependent(), "high": constraints.dependent()}

    def __init__(
        self, low: TensorLike, high: TensorLike, validate_args: bool | None = None
    ) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        if self._validate_args:
            self._check_bounds()

    @beside()
    def _check_bounds(self) -> None:
        if not np.all(self.low.array < self.high.array):
            raise ShapeError(
                f"Uniform is not defined when low >= high; got low={self.low}, high={self.high}"
            )

    @property
    def support(self) -> constraints.Constraint:
        """From ``low`` to ``high``."""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """The middle."""
        found: Tensor = (self.high + self.low) / 2
        return found

    @property
    def mode(self) -> Tensor:
        """NaN: all are alike."""
        return constant(math.nan, self.low)

    @property
    def variance(self) -> Tensor:
        """(high - low)² / 12."""
        found: Tensor = (self.high - self.low) ** 2 / 12
        return found

    @property
    def stddev(self) -> Tensor:
        """(high - low) / √12."""
        found: Tensor = (self.high - self.low) / math.sqrt(12)
        return found

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """low + u (high - low)."""
        u = random.uniform(self._extended_shape(sample_shape), dtype=self.low.dtype)
        found: Tensor = self.low + u * (self.high - self.low)
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """-log(high - low); -∞ outside."""
        x = self._value(value, self.low)
        within = (self.low <= x) & (self.high > x)
        found: Tensor = recorded(np.where(within, -np.log(self.high - self.low), -math.inf))
        return found.astype(self.low.dtype)

    def cdf(self, value: TensorLike) -> Tensor:
        """(value - low) / (high - low), within 0 and 1."""
        x = self._value(value, self.low)
        found: Tensor = np.clip((x - self.low) / (self.high - self.low), 0, 1)
        return found

    def icdf(self, value: TensorLike) -> Tensor:
        """low + value (high - low)."""
        found: Tensor = given(value) * (self.high - self.low) + self.low
        return found

    def entropy(self) -> Tensor:
        """log(high - low)."""
        found: Tensor = np.log(self.high - self.low)
        return found
