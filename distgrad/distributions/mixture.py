"""Mixtures of components of one family."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.categorical import Categorical
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.shared import given, recorded
from distgrad.errors import ShapeError
from distgrad.ops.gather import take_along_axis
from distgrad.ops.measure import logsumexp
from distgrad.ops.softmax import log_softmax


class MixtureSameFamily(Distribution):
    """``component_distribution`` along its last batch axis, each as likely as ``mixture`` says."""

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ShapeError(
                "MixtureSameFamily: the mixture distribution must be a Categorical; got "
                f"{type(mixture_distribution).__name__}"
            )
        batch = component_distribution.batch_shape
        k = mixture_distribution.param_shape[-1]
        if not batch or batch[-1] != k:
            raise ShapeError(
                f"MixtureSameFamily: `mixture_distribution` has {k} components, "
                f"`component_distribution` of batch shape {batch} must have them as its last axis"
            )
        self.mixture_distribution = mixture_distribution
        self.component_distribution = component_distribution
        self._event_axes = len(component_distribution.event_shape)
        super().__init__(batch[:-1], component_distribution.event_shape, validate_args)
        if mixture_distribution.batch_shape not in {(), batch[:-1]}:
            raise ShapeError(
                f"MixtureSameFamily: `mixture_distribution.batch_shape` "
                f"{mixture_distribution.batch_shape} must be () or {batch[:-1]}"
            )

    def expand(self, batch_shape: Any) -> MixtureSameFamily:
        """Return the distribution with its batch broadcast to ``batch_shape``."""
        shape = tuple(batch_shape)
        k = self.mixture_distribution.param_shape[-1]
        mixture = self.mixture_distribution.expand(shape)
        parts = self.component_distribution.expand((*shape, k))
        return self._checked_like(MixtureSameFamily(mixture, parts, validate_args=False))

    @property
    def support(self) -> constraints.Constraint:
        """That of the components."""
        return self.component_distribution.support

    def _weights(self) -> Tensor:
        p = self.mixture_distribution.probs
        found: Tensor = recorded(np.reshape(p, (*p.shape, *(1,) * self._event_axes)))
        return found

    @property
    def mean(self) -> Tensor:
        """The components' means, weighted."""
        axis = -1 - self._event_axes
        found: Tensor = np.sum(self._weights() * self.component_distribution.mean, axis=axis)
        return found

    @property
    def variance(self) -> Tensor:
        """The mean of the variances and the variance of the means."""
        axis, p, parts = -1 - self._event_axes, self._weights(), self.component_distribution
        within = np.sum(p * parts.variance, axis=axis)
        between = np.sum(p * (parts.mean - np.expand_dims(self.mean, axis)) ** 2, axis=axis)
        found: Tensor = within + between
        return found

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw a component, and from it."""
        with no_grad():
            chosen = self.mixture_distribution.expand(self._batch_shape).sample(sample_shape)
            drawn = self.component_distribution.sample(sample_shape)
            axis = -1 - self._event_axes
            index = np.reshape(chosen, (*chosen.shape, *(1,) * (self._event_axes + 1)))
            index = np.broadcast_to(index, (*chosen.shape, 1, *self._event_shape))
            found: Tensor = np.squeeze(take_along_axis(drawn, index, axis), axis)
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """Log Σ p exp(log_prob of each component)."""
        logs = self.component_distribution.log_prob(self._beside(value))
        weights = log_softmax(self.mixture_distribution.logits, axis=-1)
        found: Tensor = logsumexp(logs + weights, axis=-1)
        return found

    def cdf(self, value: TensorLike) -> Tensor:
        """The components' distribution functions, weighted."""
        parts = self.component_distribution.cdf(self._beside(value))
        found: Tensor = np.sum(parts * self.mixture_distribution.probs, axis=-1)
        return found

    def _beside(self, value: TensorLike) -> Tensor:
        x = given(value)
        if self._validate_args:
            self._validate_sample(x)
        found: Tensor = recorded(np.expand_dims(x, -1 - self._event_axes))
        return found

    def __repr__(self) -> str:
        return (
            f"MixtureSameFamily(\n  {self.mixture_distribution!r},\n"
            f"  {self.component_distribution!r})"
        )
