"""The normal distribution of vectors."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd import random
from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.shared import broadcast_to, lazy, one_of, parameter, recorded
from distgrad.errors import ShapeError
from distgrad.ops.diagonal import diagonal
from distgrad.ops.solve import solve_triangular


class MultivariateNormal(Distribution):
    """Vectors of n numbers of mean ``loc``, with one of three (n, n) matrices.

    ``covariance_matrix``, ``precision_matrix`` (its inverse) or ``scale_tril`` (its lower Cholesky
    factor, the fastest). Errors: ShapeError unless exactly one of them is given.
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }

    def __init__(
        self,
        loc: TensorLike,
        covariance_matrix: TensorLike | None = None,
        precision_matrix: TensorLike | None = None,
        scale_tril: TensorLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        mean = parameter(loc)
        if mean.ndim < 1:
            raise ShapeError("MultivariateNormal: loc must be at least one-dimensional.")
        name, given = one_of(
            "MultivariateNormal",
            covariance_matrix=covariance_matrix,
            precision_matrix=precision_matrix,
            scale_tril=scale_tril,
        )
        matrix = parameter(given)
        n = mean.shape[-1]
        if matrix.ndim < 2 or matrix.shape[-2:] != (n, n):
            raise ShapeError(
                f"MultivariateNormal: {name} must be (…, {n}, {n}) for a loc of shape {mean.shape};"
                f" got {matrix.shape}"
            )
        batch = np.broadcast_shapes(matrix.shape[:-2], mean.shape[:-1])
        self.loc = broadcast_to(mean, (*batch, n))
        self.__dict__[name] = broadcast_to(matrix, (*batch, n, n))
        super().__init__(batch, (n,), validate_args=validate_args)
        if name == "scale_tril":
            self._factor = matrix
        elif name == "covariance_matrix":
            self._factor = recorded(np.linalg.cholesky(matrix))
        else:
            self._factor = _precision_to_scale_tril(matrix)

    def expand(self, batch_shape: Any) -> Any:
        """Return the distribution with parameters broadcast to ``batch_shape``."""
        new = super().expand(batch_shape)
        for name in ("covariance_matrix", "precision_matrix", "scale_tril"):
            new.__dict__.pop(name, None)
        return new

    @lazy
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        return broadcast_to(self._factor, (*self._batch_shape, *self._event_shape * 2))

    @lazy
    def covariance_matrix(self) -> Tensor:
        """L Lᵀ."""
        product = self._factor @ np.swapaxes(self._factor, -2, -1)
        return broadcast_to(product, (*self._batch_shape, *self._event_shape * 2))

    @lazy
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        inverse = _inverse_triangular(self._factor)
        product = recorded(np.swapaxes(inverse, -2, -1) @ inverse)
        return broadcast_to(product, (*self._batch_shape, *self._event_shape * 2))

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
        """The diagonal of the covariance."""
        squares = np.sum(self._factor * self._factor, axis=-1)
        return broadcast_to(squares, (*self._batch_shape, *self._event_shape))

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """loc + L · a vector of standard normal numbers."""
        noise = random.normal(self._extended_shape(sample_shape), dtype=self.loc.dtype)
        found: Tensor = self.loc + np.squeeze(self._factor @ np.expand_dims(noise, -1), -1)
        return found

    def log_prob(self, value: TensorLike) -> Tensor:
        """-½ (n log 2π + |L⁻¹ (value - loc)|²) - Σ log diag L."""
        d = self._value(value, self.loc) - self.loc
        n = self._event_shape[0]
        squares = n * math.log(2 * math.pi) + mahalanobis(self._factor, d)
        found: Tensor = -0.5 * squares - self._half_log_det()
        return found

    def entropy(self) -> Tensor:
        """½ n (1 + log 2π) + Σ log diag L."""
        n = self._event_shape[0]
        h = 0.5 * n * (1.0 + math.log(2 * math.pi)) + self._half_log_det()
        return broadcast_to(h, self._batch_shape)

    def _half_log_det(self) -> Tensor:
        found: Tensor = np.sum(np.log(diagonal(self._factor, axis1=-2, axis2=-1)), axis=-1)
        return found


def mahalanobis(factor: Tensor, d: Tensor) -> Tensor:
    """|L⁻¹ d|² of vectors d (…, n) and lower triangular L (…, n, n)."""
    x = solve_triangular(factor, np.expand_dims(d, -1), lower=True)
    found: Tensor = np.sum(x * x, axis=(-2, -1))
    return found


def _inverse_triangular(factor: Tensor) -> Tensor:
    eye = np.broadcast_to(np.eye(factor.shape[-1], dtype=factor.dtype), factor.shape)
    found: Tensor = solve_triangular(factor, fixed(np.array(eye)), lower=True)
    return found


def _precision_to_scale_tril(precision: Tensor) -> Tensor:
    # The factor of the matrix with both axes reversed, reversed, is upper triangular.
    reversed_factor = np.linalg.cholesky(np.flip(precision, (-2, -1)))
    upper = np.swapaxes(np.flip(reversed_factor, (-2, -1)), -2, -1)
    return _inverse_triangular(recorded(upper))
