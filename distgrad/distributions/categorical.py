"""Categorical, OneHotCategorical (plain and straight through), Multinomial."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.stream import lent_generator
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.distributions import constraints
from distgrad.distributions.beside import beside
from distgrad.distributions.counts import Binomial
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.shared import (
    broadcast_to,
    constant,
    given,
    lazy,
    logits_to_probs,
    normalised_logits,
    one_of,
    parameter,
    probs_to_logits,
    recorded,
)
from distgrad.errors import ShapeError
from distgrad.ops.gamma import lgamma


class _Choice(Distribution):
    """``probs`` (normalised) or ``logits`` of k outcomes along the last axis."""

    arg_constraints: ClassVar = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(
        self,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name, given = one_of(type(self).__name__, probs=probs, logits=logits)
        value = parameter(given)
        if value.ndim < 1:
            raise ShapeError(
                f"{type(self).__name__}: `{name}` parameter must be at least one-dimensional"
            )
        if name == "probs":
            with np.errstate(divide="ignore", invalid="ignore"):  # the check below says it
                value = value / np.sum(value, axis=-1, keepdims=True)
        else:
            value = normalised_logits(value)
        self._param = self.__dict__[name] = value
        super().__init__(value.shape[:-1], self._event_of(value), validate_args)

    def _event_of(self, value: Tensor) -> Shape:
        return value.shape[-1:]

    @lazy
    def probs(self) -> Tensor:
        """The probabilities of the outcomes."""
        return logits_to_probs(self.__dict__["logits"])

    @lazy
    def logits(self) -> Tensor:
        """The logarithms of ``probs``."""
        return probs_to_logits(self.__dict__["probs"])

    @property
    def param_shape(self) -> Shape:
        """The shape of ``probs`` or ``logits``."""
        return self._param.shape

    def expand(self, batch_shape: Any) -> Any:
        """Return the distribution with parameters broadcast to ``batch_shape``."""
        new = super().expand(batch_shape)
        new._param = broadcast_to(self._param, (*batch_shape, *self._param.shape[-1:]))
        return new

    def _chosen(self, sample_shape: SampleShape) -> Array:
        """Draw outcomes, of shape ``sample_shape + batch_shape``: where the sum passes u."""
        p = self.probs.array.astype(np.float64)
        u = lent_generator().random((*sample_shape, *self._batch_shape))
        if not p.size and u.size:
            raise ShapeError(f"{type(self).__name__} of no outcomes cannot be sampled")
        sums = np.cumsum(p, axis=-1)
        u = u * sums[..., -1]
        if p.ndim == 1:
            drawn = np.searchsorted(sums, u, side="right")
        else:
            drawn = np.count_nonzero(sums <= u[..., None], axis=-1)
        found: Array = np.minimum(drawn, p.shape[-1] - 1)
        return found

    @beside()
    def _check_outcomes(self, tensor: Tensor) -> None:
        outcomes = tensor.array
        if outcomes.size and (outcomes.min() < 0 or outcomes.max() >= self._param.shape[-1]):
            raise ShapeError(
                f"{type(self).__name__}: outcomes from {outcomes.min()} to {outcomes.max()} are "
                f"not all in 0..{self._param.shape[-1] - 1}"
            )

    def _logits_at(self, outcomes: Tensor) -> Tensor:
        """The logit of each outcome, of the shape that outcomes and batch broadcast to."""
        self._check_outcomes(outcomes)
        shape = np.broadcast_shapes(outcomes.shape, self._batch_shape)
        # Each batch axis by its own index, lined up on the right: one operation on the tape.
        n = len(self._batch_shape)
        places = [
            fixed(np.arange(m).reshape((m,) + (1,) * (n - 1 - i)))
            for i, m in enumerate(self._batch_shape)
        ]
        found: Tensor = self.logits[(*places, np.broadcast_to(outcomes, shape))]
        return found

    def _entropy(self) -> Tensor:
        logs = np.clip(self.logits, float(np.finfo(self._param.dtype).min), None)
        found: Tensor = -np.sum(logs * self.probs, axis=-1)
        return found

    def _one_hot(self, outcomes: Tensor) -> Tensor:
        places = fixed(np.arange(self._param.shape[-1]))
        return recorded((np.expand_dims(outcomes, -1) == places).astype(self._param.dtype))


class Categorical(_Choice):
    """One of the whole numbers 0 … k - 1, with ``probs`` (not necessarily normalised)."""

    has_enumerate_support = True

    def _event_of(self, value: Tensor) -> Shape:
        return ()

    @property
    def support(self) -> constraints.Constraint:
        """0 to k - 1."""
        return constraints.integer_interval(0, self._param.shape[-1] - 1)

    @property
    def mean(self) -> Tensor:
        """NaN: outcomes have no mean."""
        return Tensor(fixed(np.full(self._batch_shape, math.nan, self._param.dtype)))

    @property
    def mode(self) -> Tensor:
        """The likeliest outcome."""
        return recorded(np.argmax(self.probs, axis=-1))

    @property
    def variance(self) -> Tensor:
        """NaN: outcomes have none."""
        return self.mean

    @beside("probs")
    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw outcomes (int64)."""
        return Tensor(np.asarray(self._chosen(sample_shape), np.int64))

    def log_prob(self, value: TensorLike) -> Tensor:
        """The logit of ``value``."""
        index = given(value)
        if self._validate_args:
            self._validate_sample(index)
        return self._logits_at(index.astype(np.int64))

    def entropy(self) -> Tensor:
        """-Σ p log p."""
        return self._entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return 0 to k - 1."""
        return self._expanded(Tensor(fixed(np.arange(self._param.shape[-1]))), expand)


class OneHotCategorical(_Choice):
    """One of k outcomes, as a vector with a 1 at its place."""

    has_enumerate_support = True

    @property
    def support(self) -> constraints.Constraint:
        """Vectors of zeros with one 1."""
        return constraints.one_hot

    @property
    def mean(self) -> Tensor:
        """``probs``."""
        found: Tensor = self.probs
        return found

    @property
    def mode(self) -> Tensor:
        """The likeliest outcome."""
        return self._one_hot(recorded(np.argmax(self.probs, axis=-1)))

    @property
    def variance(self) -> Tensor:
        """P (1 - p)."""
        found: Tensor = self.probs * (1 - self.probs)
        return found

    @beside("probs")
    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw vectors."""
        return self._one_hot(Tensor(np.asarray(self._chosen(sample_shape))))

    def log_prob(self, value: TensorLike) -> Tensor:
        """The logit of the place of the 1."""
        x = self._value(value, self._param)
        return self._logits_at(recorded(np.argmax(x, axis=-1)))

    def entropy(self) -> Tensor:
        """-Σ p log p."""
        return self._entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return the rows of the identity."""
        k = self._param.shape[-1]
        return self._expanded(Tensor(fixed(np.eye(k, dtype=self._param.dtype))), expand)


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """OneHotCategorical whose samples hand the gradient on to ``probs`` (Bengio et al. 2013)."""

    has_rsample = True

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """A vector of zeros and a 1, with the gradient of ``probs``."""
        drawn = self.sample(sample_shape)
        found: Tensor = drawn + (self.probs - self.probs.detach())
        return found


class Multinomial(_Choice):
    """How often each of k outcomes came up in ``total_count`` trials."""

    def __init__(
        self,
        total_count: int = 1,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(total_count, int | np.integer):
            raise NotImplementedError("Multinomial: total_count must be one whole number")
        self.total_count = int(total_count)
        super().__init__(probs, logits, validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """Whole numbers that sum up to ``total_count``."""
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        """N p."""
        found: Tensor = self.probs * self.total_count
        return found

    @property
    def variance(self) -> Tensor:
        """N p (1 - p)."""
        found: Tensor = self.total_count * self.probs * (1 - self.probs)
        return found

    @beside("probs")
    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw counts."""
        p = self.probs.array.astype(np.float64)
        shape = (*sample_shape, *self._batch_shape)
        p = p / np.sum(p, axis=-1, keepdims=True)
        drawn = lent_generator().multinomial(self.total_count, p, shape)
        return Tensor(np.asarray(drawn).astype(self._param.dtype))

    def log_prob(self, value: TensorLike) -> Tensor:
        """Log n! - Σ log value! + Σ value · log p."""
        k = self._value(value, self._param)
        shape = np.broadcast_shapes(k.shape, self.logits.shape)
        k, logits = broadcast_to(k, shape), broadcast_to(self.logits, shape)
        logits = recorded(np.where((k == 0) & (logits == -math.inf), 0, logits))
        found: Tensor = (
            lgamma(np.sum(k, axis=-1) + 1)
            - np.sum(lgamma(k + 1), axis=-1)
            + np.sum(logits * k, axis=-1)
        )
        return found

    def entropy(self) -> Tensor:
        """N times that of one trial, corrected for the orders that are not told apart."""
        n = constant(float(self.total_count), self._param[..., 0])
        binomial = Binomial(self.total_count, probs=self.probs, validate_args=False)
        counts = binomial.enumerate_support(expand=False)[1:]
        orders = np.exp(binomial.log_prob(counts)) * lgamma(counts + 1)
        found: Tensor = n * self._entropy() - lgamma(n + 1) + np.sum(orders, axis=(0, -1))
        return found
