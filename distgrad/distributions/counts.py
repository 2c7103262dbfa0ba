"""Bernoulli, Geometric, Binomial, NegativeBinomial, Poisson: 0 or 1, and how many."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.stream import generator, lent_generator
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.distributions import constraints
from distgrad.distributions.beside import beside
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.shared import (
    binary_cross_entropy,
    broadcast_all,
    broadcast_to,
    constant,
    given,
    lazy,
    logits_to_probs,
    one_of,
    parameter,
    probs_to_logits,
    recorded,
)
from distgrad.errors import ShapeError
from distgrad.ops.activation import logsigmoid
from distgrad.ops.exponential import xlogy
from distgrad.ops.gamma import lgamma


class _Chance(Distribution):
    """``probs`` of a success, or its ``logits``; the other follows."""

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}

    def _set(self, probs: TensorLike | None, logits: TensorLike | None) -> Tensor:
        name, value = one_of(type(self).__name__, probs=probs, logits=logits)
        self._param = self.__dict__[name] = parameter(value)
        return self._param

    @lazy
    def probs(self) -> Tensor:
        """The probability of a success."""
        return logits_to_probs(self.__dict__["logits"], is_binary=True)

    @lazy
    def logits(self) -> Tensor:
        """log(p / (1 - p))."""
        return probs_to_logits(self.__dict__["probs"], is_binary=True)

    @property
    def param_shape(self) -> Shape:
        """The shape of ``probs`` or ``logits``."""
        return self._batch_shape

    def _draw(self, drawn: Any, sample_shape: SampleShape) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return Tensor(np.broadcast_to(np.asarray(drawn), shape).astype(self._param.dtype))

    def expand(self, batch_shape: Any) -> Any:
        """Return the distribution with parameters broadcast to ``batch_shape``."""
        new = super().expand(batch_shape)
        new._param = broadcast_to(self._param, tuple(batch_shape))
        return new


class Bernoulli(_Chance):
    """1 with probability ``probs``, else 0."""

    has_enumerate_support = True

    def __init__(
        self,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(self._set(probs, logits).shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """0 and 1."""
        return constraints.boolean

    @property
    def mean(self) -> Tensor:
        """``probs``."""
        found: Tensor = self.probs
        return found

    @property
    def mode(self) -> Tensor:
        """The likelier one; NaN for a half."""
        p = self.probs
        return recorded(np.where(p == 0.5, np.nan, p >= 0.5).astype(p.dtype))

    @property
    def variance(self) -> Tensor:
        """P (1 - p)."""
        found: Tensor = self.probs * (1 - self.probs)
        return found

    @beside("probs")
    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw zeros and ones."""
        shape = self._extended_shape(sample_shape)
        return self._draw(lent_generator().random(shape) < self.probs.array, sample_shape)

    def log_prob(self, value: TensorLike) -> Tensor:
        """Log p or log(1 - p)."""
        found: Tensor = -binary_cross_entropy(self.logits, self._value(value, self._param))
        return found

    def entropy(self) -> Tensor:
        """-p log p - (1 - p) log(1 - p)."""
        return binary_cross_entropy(self.logits, self.probs)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return 0 and 1."""
        return self._expanded(Tensor(fixed(np.arange(2, dtype=self._param.dtype))), expand)


class Geometric(_Chance):
    """The number of failures before the first success."""

    def __init__(
        self,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        p = self._set(probs, logits)
        super().__init__(p.shape, validate_args=validate_args)
        if self._validate_args and probs is not None:
            self._check_positive()

    @beside()
    def _check_positive(self) -> None:
        p = self._param
        if not np.all(p.array > 0):
            raise ShapeError(
                f"Expected parameter probs of distribution {self!r} to be positive, but found "
                f"invalid values:\n{p}"
            )

    @property
    def support(self) -> constraints.Constraint:
        """0, 1, 2, …."""
        return constraints.nonnegative_integer

    @property
    def mean(self) -> Tensor:
        """1/p - 1."""
        found: Tensor = 1.0 / self.probs - 1.0
        return found

    @property
    def mode(self) -> Tensor:
        """0."""
        return constant(0.0, self._param)

    @property
    def variance(self) -> Tensor:
        """(1/p - 1) / p."""
        found: Tensor = (1.0 / self.probs - 1.0) / self.probs
        return found

    @beside("probs")
    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw whole numbers."""
        u = 1 - lent_generator().random(self._extended_shape(sample_shape))  # in (0, 1]
        with np.errstate(divide="ignore"):
            rate = np.log1p(-self.probs.array.astype(np.float64))
        return self._draw(np.floor(np.log(u) / rate), sample_shape)

    def log_prob(self, value: TensorLike) -> Tensor:
        """Value · log(1 - p) + log p."""
        x = self._value(value, self._param)
        p = np.where((self.probs == 1) & (x == 0), 0, self.probs)
        found: Tensor = x * np.log1p(-p) + np.log(self.probs)
        return found

    def entropy(self) -> Tensor:
        """That of one trial, over p."""
        found: Tensor = binary_cross_entropy(self.logits, self.probs) / self.probs
        return found


class Binomial(_Chance):
    """The number of successes in ``total_count`` trials."""

    has_enumerate_support = True
    arg_constraints: ClassVar = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }

    def __init__(
        self,
        total_count: TensorLike = 1,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name, value = one_of("Binomial", probs=probs, logits=logits)
        value = parameter(value)
        count = given(total_count).detach().astype(value.dtype)
        self.total_count, value = broadcast_all(count, value)
        self._param = self.__dict__[name] = value
        self._most = total_count if isinstance(total_count, int) else None
        super().__init__(value.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """0 to ``total_count``."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        """N p."""
        found: Tensor = self.total_count * self.probs
        return found

    @property
    def mode(self) -> Tensor:
        """⌊(n + 1) p⌋, at most n."""
        n, p = self.total_count, self.probs
        return recorded(np.minimum(np.floor((n + 1) * p), n))

    @property
    def variance(self) -> Tensor:
        """N p (1 - p)."""
        found: Tensor = self.total_count * self.probs * (1 - self.probs)
        return found

    @beside("probs")
    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw numbers of successes."""
        n, p = self.total_count.array.astype(np.int64), self.probs.array.astype(np.float64)
        return self._draw(
            lent_generator().binomial(n, p, self._extended_shape(sample_shape)), sample_shape
        )

    def log_prob(self, value: TensorLike) -> Tensor:
        """log (n over k) + k log p + (n - k) log(1 - p)."""
        k, n, logits = self._value(value, self._param), self.total_count, self.logits
        normaliser = (
            n * np.maximum(logits, 0) + n * np.log1p(np.exp(-np.absolute(logits))) - lgamma(n + 1)
        )
        found: Tensor = k * logits - lgamma(k + 1) - lgamma(n - k + 1) - normaliser
        return found

    def entropy(self) -> Tensor:
        """The sum over all values. Errors: NotImplementedError where counts differ."""
        logs = self.log_prob(self.enumerate_support(expand=False))
        found: Tensor = -np.sum(np.exp(logs) * logs, axis=0)
        return found

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return 0 to ``total_count``. Errors: NotImplementedError where counts differ."""
        most = self._most
        if most is None:
            n = self.total_count.array
            most = int(n.max(initial=0))
            if np.any(n != most):
                raise NotImplementedError(
                    "enumerate_support and entropy of a Binomial need the same total_count "
                    "everywhere"
                )
        values = fixed(np.arange(most + 1).astype(self._param.dtype))
        return self._expanded(Tensor(values), expand)


class NegativeBinomial(_Chance):
    """The number of successes before ``total_count`` failures."""

    arg_constraints: ClassVar = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }

    def __init__(
        self,
        total_count: TensorLike,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name, value = one_of("NegativeBinomial", probs=probs, logits=logits)
        self.total_count, value = broadcast_all(total_count, parameter(value))
        self._param = self.__dict__[name] = value
        super().__init__(value.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """0, 1, 2, …."""
        return constraints.nonnegative_integer

    @property
    def mean(self) -> Tensor:
        """N exp(logits)."""
        found: Tensor = self.total_count * np.exp(self.logits)
        return found

    @property
    def mode(self) -> Tensor:
        """⌊(n - 1) exp(logits)⌋, at least 0."""
        n, odds = self.total_count, np.exp(self.logits)
        return recorded(np.maximum(np.floor((n - 1) * odds), 0))

    @property
    def variance(self) -> Tensor:
        """The mean over 1 - p."""
        found: Tensor = self.mean * (1 + np.exp(self.logits))
        return found

    @beside("logits")
    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw Poisson numbers of gamma distributed rates."""
        random, shape = generator(), self._extended_shape(sample_shape)
        odds = np.exp(self.logits.array.astype(np.float64))
        rate = random.standard_gamma(self.total_count.array, shape) * odds
        return self._draw(random.poisson(_drawable(rate)), sample_shape)

    def log_prob(self, value: TensorLike) -> Tensor:
        """N log(1 - p) + k log p + log (n + k - 1 over k)."""
        k, n = self._value(value, self._param), self.total_count
        weight = n * logsigmoid(-self.logits) + k * logsigmoid(self.logits)
        normaliser = lgamma(1.0 + k) + lgamma(n) - lgamma(n + k)
        normaliser = np.where((n + k) == 0, 0, normaliser)
        found: Tensor = weight - normaliser
        return found


class Poisson(Distribution):
    """The number of events where ``rate`` are expected."""

    arg_constraints: ClassVar = {"rate": constraints.nonnegative}

    def __init__(self, rate: TensorLike, validate_args: bool | None = None) -> None:
        [self.rate] = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """0, 1, 2, …."""
        return constraints.nonnegative_integer

    @property
    def mean(self) -> Tensor:
        """``rate``."""
        return self.rate

    @property
    def mode(self) -> Tensor:
        """⌊rate⌋."""
        return recorded(np.floor(self.rate))

    @property
    def variance(self) -> Tensor:
        """``rate``."""
        return self.rate

    @beside()
    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw whole numbers."""
        rate: Array = self.rate.array.astype(np.float64)
        drawn = lent_generator().poisson(_drawable(rate), self._extended_shape(sample_shape))
        return Tensor(np.asarray(drawn).astype(self.rate.dtype))

    def log_prob(self, value: TensorLike) -> Tensor:
        """Value · log rate - rate - log value!."""
        k = self._value(value, self.rate)
        found: Tensor = xlogy(k, self.rate) - self.rate - lgamma(k + 1)
        return found


def _drawable(rate: Array) -> Array:
    """``rate``. Errors: ShapeError where the numbers drawn would not be those of an int64."""
    most = 9.2e18
    if not np.all(rate < most):
        raise ShapeError(f"Poisson numbers are drawn for rates below {most:g}; got {rate.max():g}")
    return rate
