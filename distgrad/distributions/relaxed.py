"""Relaxations of discrete choices with gradients: the concrete distribution.

Maddison et al. 2017; Jang et al. 2017.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd import random
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.categorical import _Choice
from distgrad.distributions.counts import _Chance
from distgrad.distributions.distribution import SampleShape
from distgrad.distributions.shared import clamp_probs, parameter
from distgrad.distributions.transformed import TransformedDistribution
from distgrad.distributions.transforms import ExpTransform, SigmoidTransform
from distgrad.ops.measure import logsumexp


class LogitRelaxedBernoulli(_Chance):
    """The logit of a RelaxedBernoulli number: numerically safe."""

    has_rsample = True

    def __init__(
        self,
        temperature: TensorLike,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.temperature = parameter(temperature)
        super().__init__(self._set(probs, logits).shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """All real numbers."""
        return constraints.real

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """(logit(u) + logit(p)) / temperature."""
        shape = self._extended_shape(sample_shape)
        u = clamp_probs(random.uniform(shape, dtype=self._param.dtype))
        p = clamp_probs(self.probs)
        noise = np.log(u) - np.log1p(-u)
        found: Tensor = (noise + np.log(p) - np.log1p(-p)) / self.temperature
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """Log T + d - 2 log(1 + exp(d)), d = logit - T · value."""
        d = self.logits - self._value(value, self._param) * self.temperature
        found: Tensor = np.log(self.temperature) + d - 2 * np.logaddexp(0, d)
        return found


class RelaxedBernoulli(TransformedDistribution):
    """A number in (0, 1), nearer to 0 or 1 the lower the ``temperature``."""

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}

    def __init__(
        self,
        temperature: TensorLike,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        base = LogitRelaxedBernoulli(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    @property
    def _relaxed(self) -> Any:
        return self.base_dist

    @property
    def temperature(self) -> Tensor:
        """How soft the choice is."""
        found: Tensor = self._relaxed.temperature
        return found

    @property
    def probs(self) -> Tensor:
        """The probability of 1 as the temperature goes to 0."""
        found: Tensor = self._relaxed.probs
        return found

    @property
    def logits(self) -> Tensor:
        """log(p / (1 - p))."""
        found: Tensor = self._relaxed.logits
        return found


class ExpRelaxedCategorical(_Choice):
    """The logarithm of a RelaxedOneHotCategorical vector: numerically safe."""

    has_rsample = True

    def __init__(
        self,
        temperature: TensorLike,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.temperature = parameter(temperature)
        super().__init__(probs, logits, validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """All real vectors."""
        return constraints.real_vector

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """log softmax((logits + Gumbel noise) / temperature)."""
        shape = self._extended_shape(sample_shape)
        u = clamp_probs(random.uniform(shape, dtype=self._param.dtype))
        scores = (self.logits - np.log(-np.log(u))) / self.temperature
        found: Tensor = scores - logsumexp(scores, axis=-1, keepdims=True)
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """log (k - 1)! + (k - 1) log T + Σ log softmax(logits - T · value)."""
        k = self._param.shape[-1]
        score = self.logits - self._value(value, self._param) * self.temperature
        score = np.sum(score - logsumexp(score, axis=-1, keepdims=True), axis=-1)
        found: Tensor = score + math.lgamma(k) + (k - 1) * np.log(self.temperature)
        return found


class RelaxedOneHotCategorical(TransformedDistribution):
    """A vector of probabilities, nearer to a corner the lower the ``temperature``."""

    arg_constraints: ClassVar = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(
        self,
        temperature: TensorLike,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    @property
    def _relaxed(self) -> Any:
        return self.base_dist

    @property
    def support(self) -> constraints.Constraint:
        """Vectors of probabilities."""
        return constraints.simplex

    @property
    def temperature(self) -> Tensor:
        """How soft the choice is."""
        found: Tensor = self._relaxed.temperature
        return found

    @property
    def probs(self) -> Tensor:
        """The probabilities of the corners as the temperature goes to 0."""
        found: Tensor = self._relaxed.probs
        return found

    @property
    def logits(self) -> Tensor:
        """The logarithms of ``probs``."""
        found: Tensor = self._relaxed.logits
        return found
