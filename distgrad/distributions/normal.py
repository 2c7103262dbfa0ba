"""Normal and its relatives: LogNormal, HalfNormal, Cauchy, HalfCauchy, StudentT."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd import random
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.gamma import Chi2
from distgrad.distributions.shared import broadcast_all, constant, given, recorded
from distgrad.distributions.transformed import TransformedDistribution
from distgrad.distributions.transforms import ExpTransform
from distgrad.ops.elementwise import rsqrt
from distgrad.ops.gamma import digamma, lgamma
from distgrad.ops.inverse_erf import ndtri
from distgrad.ops.special import normal_cdf

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


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


class Normal(_LocationScale):
    """The normal distribution of mean ``loc`` and standard deviation ``scale``."""

    @property
    def mean(self) -> Tensor:
        """``loc``."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """``scale``."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """scale²."""
        found: Tensor = self.scale * self.scale
        return found

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """loc + scale · a standard normal number (Kingma & Welling 2014)."""
        shape = self._extended_shape(sample_shape)
        found: Tensor = self.loc + self.scale * random.normal(shape, dtype=self.loc.dtype)
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """-½ ((value - loc) / scale)² - log scale - ½ log 2π."""
        z = (self._value(value, self.loc) - self.loc) / self.scale
        found: Tensor = -0.5 * (z * z) - np.log(self.scale) - _LOG_SQRT_2PI
        return found

    def cdf(self, value: TensorLike) -> Tensor:
        """Φ((value - loc) / scale)."""
        found: Tensor = normal_cdf((self._value(value, self.loc) - self.loc) / self.scale)
        return found

    def icdf(self, value: TensorLike) -> Tensor:
        """loc + scale Φ⁻¹(value)."""
        found: Tensor = self.loc + self.scale * ndtri(given(value))
        return found

    def entropy(self) -> Tensor:
        """½ + ½ log 2π + log scale."""
        found: Tensor = recorded(0.5 + _LOG_SQRT_2PI + np.log(self.scale))
        return found


class LogNormal(TransformedDistribution):
    """exp of a Normal(loc, scale) number."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}

    def __init__(
        self, loc: TensorLike, scale: TensorLike, validate_args: bool | None = None
    ) -> None:
        super().__init__(Normal(loc, scale, validate_args), ExpTransform(), validate_args)

    @property
    def loc(self) -> Tensor:
        """The mean of the logarithm."""
        found: Tensor = self._normal.loc
        return found

    @property
    def scale(self) -> Tensor:
        """The standard deviation of the logarithm."""
        found: Tensor = self._normal.scale
        return found

    @property
    def _normal(self) -> Any:
        return self.base_dist

    @property
    def mean(self) -> Tensor:
        """exp(loc + scale² / 2)."""
        found: Tensor = np.exp(self.loc + self.scale * self.scale / 2)
        return found

    @property
    def mode(self) -> Tensor:
        """exp(loc - scale²)."""
        found: Tensor = np.exp(self.loc - self.scale * self.scale)
        return found

    @property
    def variance(self) -> Tensor:
        """(exp(scale²) - 1) exp(2 loc + scale²)."""
        square = self.scale * self.scale
        found: Tensor = np.expm1(square) * np.exp(2 * self.loc + square)
        return found

    def entropy(self) -> Tensor:
        """The entropy of the logarithm, and its mean."""
        found: Tensor = self.base_dist.entropy() + self.loc
        return found


class Cauchy(_LocationScale):
    """The Cauchy distribution of median ``loc`` and half width ``scale``: it has no mean."""

    @property
    def mean(self) -> Tensor:
        """NaN: there is none."""
        return constant(math.nan, self.loc)

    @property
    def variance(self) -> Tensor:
        """Infinite."""
        return constant(math.inf, self.loc)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """loc + scale · the quotient of two normal numbers."""
        one, two = random.normal((2, *self._extended_shape(sample_shape)), dtype=self.loc.dtype)
        found: Tensor = self.loc + self.scale * (one / two)
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """-log(π scale (1 + ((value - loc) / scale)²))."""
        z = (self._value(value, self.loc) - self.loc) / self.scale
        found: Tensor = -math.log(math.pi) - np.log(self.scale) - np.log1p(z * z)
        return found

    def cdf(self, value: TensorLike) -> Tensor:
        """½ + arctan((value - loc) / scale) / π."""
        z = (self._value(value, self.loc) - self.loc) / self.scale
        found: Tensor = np.arctan(z) / math.pi + 0.5
        return found

    def icdf(self, value: TensorLike) -> Tensor:
        """loc + scale tan(π (value - ½))."""
        found: Tensor = self.loc + self.scale * np.tan(math.pi * (given(value) - 0.5))
        return found

    def entropy(self) -> Tensor:
        """log 4π + log scale."""
        found: Tensor = recorded(math.log(4 * math.pi) + np.log(self.scale))
        return found


class _Half(Distribution):
    """|x| of a distribution that is symmetric about 0."""

    has_rsample = True
    arg_constraints: ClassVar = {"scale": constraints.positive}
    whole: type[_LocationScale]

    def __init__(self, scale: TensorLike, validate_args: bool | None = None) -> None:
        [self.scale] = broadcast_all(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def base_dist(self) -> _LocationScale:
        """The distribution of both signs."""
        return self.whole(constant(0.0, self.scale), self.scale, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """0 and all positive numbers."""
        return constraints.nonnegative

    @property
    def mode(self) -> Tensor:
        """0."""
        return constant(0.0, self.scale)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """The absolute value of a sample of both signs."""
        found: Tensor = recorded(np.absolute(self.base_dist.rsample(sample_shape)))
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """That of both signs, twice as likely; -∞ below 0."""
        x = self._value(value, self.scale)
        both = self.base_dist.log_prob(x) + math.log(2)
        found: Tensor = recorded(np.where(x >= 0, both, -math.inf))
        return found

    def cdf(self, value: TensorLike) -> Tensor:
        """2 F(value) - 1."""
        found: Tensor = 2 * self.base_dist.cdf(self._value(value, self.scale)) - 1
        return found

    def icdf(self, value: TensorLike) -> Tensor:
        """F⁻¹((value + 1) / 2)."""
        return self.base_dist.icdf((given(value) + 1) / 2)

    def entropy(self) -> Tensor:
        """That of both signs, less log 2."""
        found: Tensor = self.base_dist.entropy() - math.log(2)
        return found


class HalfNormal(_Half):
    """|x| of a Normal(0, scale) number."""

    whole = Normal

    @property
    def mean(self) -> Tensor:
        """scale √(2/π)."""
        found: Tensor = self.scale * math.sqrt(2 / math.pi)
        return found

    @property
    def variance(self) -> Tensor:
        """scale² (1 - 2/π)."""
        found: Tensor = self.scale * self.scale * (1 - 2 / math.pi)
        return found


class HalfCauchy(_Half):
    """|x| of a Cauchy(0, scale) number."""

    whole = Cauchy

    @property
    def mean(self) -> Tensor:
        """Infinite."""
        return constant(math.inf, self.scale)

    @property
    def variance(self) -> Tensor:
        """Infinite."""
        return constant(math.inf, self.scale)


class StudentT(Distribution):
    """Student's t with ``df`` degrees of freedom, moved by ``loc`` and stretched by ``scale``."""

    has_rsample = True
    arg_constraints: ClassVar = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }

    def __init__(
        self,
        df: TensorLike,
        loc: TensorLike = 0.0,
        scale: TensorLike = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """All real numbers."""
        return constraints.real

    @property
    def mean(self) -> Tensor:
        """``loc``; NaN for df ≤ 1."""
        found: Tensor = recorded(np.where(self.df <= 1, math.nan, self.loc))
        return found

    @property
    def mode(self) -> Tensor:
        """``loc``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """scale² df / (df - 2); infinite for df ≤ 2, NaN for df ≤ 1."""
        df = self.df
        safe = np.where(df > 2, self.df, 3.0)
        finite = self.scale * self.scale * safe / (safe - 2)
        found: Tensor = recorded(np.where(df > 2, finite, np.where(df > 1, math.inf, math.nan)))
        return found.astype(self.df.dtype)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """loc + scale · a normal number over √(chi-squared / df)."""
        shape = self._extended_shape(sample_shape)
        x = random.normal(shape, dtype=self.df.dtype)
        z = Chi2(self.df, validate_args=False).rsample(sample_shape)
        found: Tensor = self.loc + self.scale * (x * rsqrt(z / self.df))
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """-½ (df + 1) log(1 + y²/df) - log scale - ½ log df + ½ log B's part, y scaled."""
        df = self.df
        y = (self._value(value, self.loc) - self.loc) / self.scale
        z = np.log(self.scale) + 0.5 * np.log(df) + 0.5 * math.log(math.pi)
        z = z + lgamma(0.5 * df) - lgamma(0.5 * (df + 1))
        found: Tensor = -0.5 * (df + 1) * np.log1p(y * y / df) - z
        return found

    def entropy(self) -> Tensor:
        """log scale + ½ (df + 1) (ψ(½ (df + 1)) - ψ(½ df)) + ½ log df + log B(½ df, ½)."""
        df, half = self.df, 0.5 * (self.df + 1)
        log_beta = lgamma(0.5 * df) + 0.5 * math.log(math.pi) - lgamma(half)
        found: Tensor = (
            np.log(self.scale)
            + half * (digamma(half) - digamma(0.5 * df))
            + 0.5 * np.log(df)
            + log_beta
        )
        return found
