"""ContinuousBernoulli: pixels between 0 and 1 (Loaiza-Ganem & Cunningham 2019)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.counts import _Chance
from distgrad.distributions.distribution import SampleShape
from distgrad.distributions.exponential import uniform
from distgrad.distributions.shared import (
    binary_cross_entropy,
    clamp_probs,
    given,
    lazy,
    logits_to_probs,
    recorded,
)


class ContinuousBernoulli(_Chance):
    """Numbers x in (0, 1) of density C p**x (1 - p)**(1 - x).

    Between ``lims``, about p = ½, moments and C are their Taylor series. Errors: ShapeError for
    probabilities outside [0, 1], or unless one of ``probs`` and ``logits`` is given.
    """

    has_rsample = True

    def __init__(
        self,
        probs: TensorLike | None = None,
        logits: TensorLike | None = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        shape = self._set(probs, logits).shape
        self._lims = lims
        super().__init__(shape, validate_args=validate_args)
        if "probs" in self.__dict__:
            self._param = self.__dict__["probs"] = clamp_probs(self._param)

    @lazy
    def probs(self) -> Tensor:
        """The parameter p; not the mean."""
        return clamp_probs(logits_to_probs(self.__dict__["logits"], is_binary=True))

    @property
    def support(self) -> constraints.Constraint:
        """Between 0 and 1."""
        return constraints.unit_interval

    def _cut(self) -> tuple[Any, Any]:
        """Where p is far enough from ½, and p there, elsewhere another."""
        low, high = self._lims
        far = (self.probs <= low) | (self.probs > high)
        return far, np.where(far, self.probs, low).astype(self._param.dtype)

    def _chosen(self, far: Any, formula: Any, series: Any) -> Tensor:
        return recorded(np.where(far, formula, series))

    def _log_norm(self) -> Tensor:
        """Log C = log(2 artanh(1 - 2p) / (1 - 2p))."""
        far, p = self._cut()
        formula = np.log(np.absolute(np.log1p(-p) - np.log(p))) - np.log(np.absolute(1 - 2 * p))
        x = (self.probs - 0.5) ** 2
        return self._chosen(far, formula, math.log(2.0) + (4 / 3 + 104 / 45 * x) * x)

    @property
    def mean(self) -> Tensor:
        """P / (2p - 1) + 1 / (2 artanh(1 - 2p))."""
        far, p = self._cut()
        formula = p / (2 * p - 1) + 1 / (np.log1p(-p) - np.log(p))
        x = self.probs - 0.5
        return self._chosen(far, formula, 0.5 + (1 / 3 + 16 / 45 * (x * x)) * x)

    @property
    def variance(self) -> Tensor:
        """P (p - 1) / (1 - 2p)² + 1 / (2 artanh(1 - 2p))²."""
        far, p = self._cut()
        formula = p * (p - 1) / (1 - 2 * p) ** 2 + 1 / (np.log1p(-p) - np.log(p)) ** 2
        x = (self.probs - 0.5) ** 2
        return self._chosen(far, formula, 1 / 12 - (1 / 15 - 128 / 945 * x) * x)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """The quantile of a uniform number."""
        return self.icdf(uniform(self._extended_shape(sample_shape), self._param))

    def log_prob(self, value: TensorLike) -> Tensor:
        """value · log p + (1 - value) log(1 - p) + log C."""
        x = self._value(value, self._param)
        return recorded(self._log_norm() - binary_cross_entropy(self.logits, x))

    def cdf(self, value: TensorLike) -> Tensor:
        """(p**x (1 - p)**(1 - x) + p - 1) / (2p - 1), within 0 and 1."""
        x = self._value(value, self._param)
        far, p = self._cut()
        formula = (p**x * (1 - p) ** (1 - x) + p - 1) / (2 * p - 1)
        return recorded(
            np.where(x <= 0, 0.0, np.where(x >= 1, 1.0, np.where(far, formula, x))).astype(x.dtype)
        )

    def icdf(self, value: TensorLike) -> Tensor:
        """(log(1 - p + value (2p - 1)) - log(1 - p)) / (log p - log(1 - p))."""
        u = given(value)
        far, p = self._cut()
        formula = np.log1p(-p + u * (2 * p - 1)) - np.log1p(-p)
        return self._chosen(far, formula / (np.log(p) - np.log1p(-p)), u)

    def entropy(self) -> Tensor:
        """mean · (log(1 - p) - log p) - log(1 - p) - log C."""
        no, yes = np.log1p(-self.probs), np.log(self.probs)
        return recorded(self.mean * (no - yes) - no - self._log_norm())
