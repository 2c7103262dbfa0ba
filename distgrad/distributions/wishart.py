"""Wishart: random covariance matrices."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd import random
from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.beside import beside
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.gamma import Chi2
from distgrad.distributions.multivariate_normal import MultivariateNormal
from distgrad.distributions.shared import broadcast_to, lazy, one_of, parameter, recorded
from distgrad.errors import ShapeError
from distgrad.ops.diagonal import diagonal
from distgrad.ops.gamma import digamma, mvlgamma
from distgrad.ops.solve import solve_triangular

_MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")


class Wishart(Distribution):
    """x xᵀ of ``df`` normal vectors x of mean 0, with one of three (n, n) matrices for them.

    ``df`` is any number above n - 1. Errors: ShapeError for fewer, or unless exactly one of
    ``covariance_matrix``, ``precision_matrix`` and ``scale_tril`` is given.
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "df": constraints.greater_than(0),
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }

    def __init__(
        self,
        df: TensorLike,
        covariance_matrix: TensorLike | None = None,
        precision_matrix: TensorLike | None = None,
        scale_tril: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = dict(zip(_MATRICES, (covariance_matrix, precision_matrix, scale_tril), strict=True))
        name, matrix = one_of("Wishart", **given)
        matrix = parameter(matrix)
        n = matrix.shape[-1] if matrix.ndim else 0
        if matrix.ndim < 2 or matrix.shape[-2] != n:
            raise ShapeError(f"Wishart: {name} must be (…, n, n); got {matrix.shape}")
        number = parameter(df)
        if isinstance(df, int | float):
            number = Tensor(fixed(np.asarray(df, matrix.dtype)))
        batch = np.broadcast_shapes(number.shape, matrix.shape[:-2])
        self.df = broadcast_to(number, batch)
        self.__dict__[name] = broadcast_to(matrix, (*batch, n, n))
        super().__init__(batch, (n, n), validate_args=validate_args)
        self._check_degrees()
        # A normal distribution of the vectors knows all three matrices.
        zeros = Tensor(fixed(np.zeros(n, matrix.dtype)))
        self._vectors = MultivariateNormal(zeros, validate_args=False, **{name: matrix})

    @beside()
    def _check_degrees(self) -> None:
        n = self._event_shape[-1]
        if np.any(self.df.array <= n - 1):
            raise ShapeError(f"Wishart: df={self.df} must be above n - 1 = {n - 1} everywhere")

    @lazy
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        return broadcast_to(self._vectors.scale_tril, self._extended_shape())

    @lazy
    def covariance_matrix(self) -> Tensor:
        """The covariance of the vectors, Σ."""
        return broadcast_to(self._vectors.covariance_matrix, self._extended_shape())

    @lazy
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return broadcast_to(self._vectors.precision_matrix, self._extended_shape())

    def expand(self, batch_shape: Any) -> Any:
        """Return the distribution with parameters broadcast to ``batch_shape``."""
        new = super().expand(batch_shape)
        for name in _MATRICES:
            new.__dict__.pop(name, None)
        return new

    @property
    def support(self) -> constraints.Constraint:
        """Positive definite matrices."""
        return constraints.positive_definite

    @property
    def mean(self) -> Tensor:
        """Df Σ."""
        found: Tensor = self._degrees * self.covariance_matrix
        return found

    @property
    def mode(self) -> Tensor:
        """(df - n - 1) Σ; NaN for df ≤ n + 1."""
        factor = self._degrees - (self._event_shape[-1] + 1)
        found = np.where(factor > 0, factor * self.covariance_matrix, math.nan)
        return recorded(found.astype(self.df.dtype))

    @property
    def variance(self) -> Tensor:
        """Df (Σᵢⱼ² + Σᵢᵢ Σⱼⱼ)."""
        s = self.covariance_matrix
        d = diagonal(s, axis1=-2, axis2=-1)
        return recorded(self._degrees * (s * s + np.expand_dims(d, -1) * np.expand_dims(d, -2)))

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """L A Aᵀ Lᵀ of a triangular A: normal numbers and, on the diagonal, χ (Bartlett 1933)."""
        n = self._event_shape[-1]
        shape, dtype = self._extended_shape(sample_shape), self.df.dtype
        degrees = np.expand_dims(self.df, -1) - fixed(np.arange(n, dtype=dtype))
        squares = Chi2(recorded(degrees), validate_args=False).rsample(sample_shape)
        below = np.tril(random.normal(shape, dtype=dtype), -1)
        a = below + np.expand_dims(np.sqrt(squares), -1) * fixed(np.eye(n, dtype=dtype))
        root = self._vectors._factor @ a
        return recorded(root @ np.swapaxes(root, -2, -1))

    def log_prob(self, value: TensorLike) -> Tensor:
        """½ (df - n - 1) log |V| - ½ tr Σ⁻¹ V - ½ df (n log 2 + log |Σ|) - log Γₙ(½ df)."""
        root = np.linalg.cholesky(self._value(value, self.df))
        logs = 2 * np.sum(np.log(diagonal(root, axis1=-2, axis2=-1)), axis=-1)
        x = solve_triangular(self._factor_like(root), root, lower=True)
        return self._log_density(logs, np.sum(x * x, axis=(-2, -1)))

    def entropy(self) -> Tensor:
        """-E log_prob: E tr Σ⁻¹ V = df n, and E log |V| in closed form."""
        n = self._event_shape[-1]
        return recorded(-self._log_density(self._mean_log_det(), self.df * n))

    @property
    def _degrees(self) -> Any:
        return np.expand_dims(self.df, (-2, -1))

    def _factor_like(self, matrix: Any) -> Tensor:
        factor = self._vectors._factor
        shape = np.broadcast_shapes(factor.shape, matrix.shape)
        return broadcast_to(factor, shape)

    def _log_density(self, log_det: Any, trace: Any) -> Tensor:
        n, df = self._event_shape[-1], self.df
        constant = df * (0.5 * n * math.log(2) + self._vectors._half_log_det())
        return recorded(
            0.5 * (df - n - 1) * log_det - 0.5 * trace - constant - mvlgamma(0.5 * df, n)
        )

    def _mean_log_det(self) -> Tensor:
        """E log |V| = Σᵢ ψ(½ (df - i)) + n log 2 + log |Σ|, i from 0 to n - 1."""
        n = self._event_shape[-1]
        halves = 0.5 * (np.expand_dims(self.df, -1) - fixed(np.arange(n, dtype=self.df.dtype)))
        psi = np.sum(digamma(halves), axis=-1)
        return recorded(psi + n * math.log(2) + 2 * self._vectors._half_log_det())
