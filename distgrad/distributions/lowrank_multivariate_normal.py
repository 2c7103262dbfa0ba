"""The normal distribution of vectors whose covariance is W Wᵀ + D: few columns and a diagonal."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd import random
from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.shared import broadcast_to, lazy, parameter, recorded
from distgrad.errors import ShapeError
from distgrad.ops.diagonal import diagonal
from distgrad.ops.solve import solve_triangular


class LowRankMultivariateNormal(Distribution):
    """Vectors of n numbers of mean ``loc`` and covariance W Wᵀ + diag D.

    ``cov_factor`` W is (…, n, k), ``cov_diag`` D (…, n). Densities cost k² n, by Woodbury's
    identity: L is the Cholesky factor of 1 + Wᵀ D⁻¹ W (k, k).
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }

    def __init__(
        self,
        loc: TensorLike,
        cov_factor: TensorLike,
        cov_diag: TensorLike,
        validate_args: bool | None = None,
    ) -> None:
        mean, w, d = parameter(loc), parameter(cov_factor), parameter(cov_diag)
        n = mean.shape[-1] if mean.ndim else None
        if n is None or w.ndim < 2 or w.shape[-2] != n or d.ndim < 1 or d.shape[-1] != n:
            raise ShapeError(
                f"LowRankMultivariateNormal: loc (…, n), cov_factor (…, n, k) and cov_diag (…, n) "
                f"must have one n; got {mean.shape}, {w.shape} and {d.shape}"
            )
        batch = np.broadcast_shapes(mean.shape[:-1], w.shape[:-2], d.shape[:-1])
        self.loc = broadcast_to(mean, (*batch, n))
        self.cov_factor = broadcast_to(w, (*batch, *w.shape[-2:]))
        self.cov_diag = broadcast_to(d, (*batch, n))
        super().__init__(batch, (n,), validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """All real vectors."""
        return constraints.real_vector

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
        """Σ W² + D."""
        found: Tensor = np.sum(self.cov_factor**2, axis=-1) + self.cov_diag
        return found

    @lazy
    def covariance_matrix(self) -> Tensor:
        """W Wᵀ + diag D."""
        w = self.cov_factor
        return recorded(w @ np.swapaxes(w, -2, -1) + _diagonal_matrix(self.cov_diag))

    @lazy
    def precision_matrix(self) -> Tensor:
        """D⁻¹ - AᵀA, A = L⁻¹ Wᵀ D⁻¹."""
        a = self._reduced()
        inverse = _diagonal_matrix(recorded(np.reciprocal(self.cov_diag)))
        return recorded(inverse - np.swapaxes(a, -2, -1) @ a)

    @lazy
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        return recorded(np.linalg.cholesky(self.covariance_matrix))

    @lazy
    def _factor(self) -> Tensor:
        """L, of 1 + Wᵀ D⁻¹ W."""
        w = self.cov_factor
        k = np.swapaxes(w, -2, -1) @ (w / np.expand_dims(self.cov_diag, -1))
        return recorded(np.linalg.cholesky(k + fixed(np.eye(w.shape[-1], dtype=w.dtype))))

    def expand(self, batch_shape: Any) -> Any:
        """Return the distribution with parameters broadcast to ``batch_shape``."""
        new = super().expand(batch_shape)
        for name in ("covariance_matrix", "precision_matrix", "scale_tril", "_factor"):
            new.__dict__.pop(name, None)
        return new

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """loc + W · k normal numbers + √D · n normal numbers."""
        shape, dtype = self._extended_shape(sample_shape), self.loc.dtype
        few = random.normal((*shape[:-1], self.cov_factor.shape[-1]), dtype=dtype)
        many = random.normal(shape, dtype=dtype)
        moved = np.squeeze(self.cov_factor @ np.expand_dims(few, -1), -1)
        return recorded(self.loc + moved + np.sqrt(self.cov_diag) * many)

    def log_prob(self, value: TensorLike) -> Tensor:
        """-½ (n log 2π + dᵀ Σ⁻¹ d + log |Σ|), d = value - loc."""
        d = self._value(value, self.loc) - self.loc
        n = self._event_shape[0]
        squares = n * math.log(2 * math.pi) + self._precise(np.expand_dims(d, -1))
        return recorded(-0.5 * squares - self._half_log_det())

    def entropy(self) -> Tensor:
        """½ n (1 + log 2π) + ½ log |Σ|."""
        n = self._event_shape[0]
        return recorded(0.5 * n * (1.0 + math.log(2 * math.pi)) + self._half_log_det())

    def _reduced(self) -> Any:
        w = np.swapaxes(self.cov_factor / np.expand_dims(self.cov_diag, -1), -2, -1)
        return solve_triangular(self._factor, w, lower=True)

    def _half_log_det(self) -> Tensor:
        logs = np.log(diagonal(self._factor, axis1=-2, axis2=-1))
        return recorded(np.sum(logs, axis=-1) + 0.5 * np.sum(np.log(self.cov_diag), axis=-1))

    def _precise(self, x: Any) -> Tensor:
        """The trace of xᵀ Σ⁻¹ x, of columns x (…, n, m)."""
        y = self._reduced() @ x
        plain = np.sum(x * x / np.expand_dims(self.cov_diag, -1), axis=(-2, -1))
        return recorded(plain - np.sum(y * y, axis=(-2, -1)))

    def _root(self) -> Tensor:
        """Columns (…, n, k + n) whose products make the covariance."""
        root = _diagonal_matrix(recorded(np.sqrt(self.cov_diag)))
        return recorded(np.concatenate([self.cov_factor, root], axis=-1))


def _diagonal_matrix(values: Tensor) -> Tensor:
    return recorded(
        np.expand_dims(values, -1) * fixed(np.eye(values.shape[-1], dtype=values.dtype))
    )
