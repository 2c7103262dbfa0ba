"""LKJCholesky: Cholesky factors of random correlation matrices."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.stream import generator
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.beside import beside
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.shared import broadcast_all, recorded, tiny
from distgrad.errors import ShapeError
from distgrad.ops.diagonal import diagonal
from distgrad.ops.gamma import lgamma, mvlgamma


class LKJCholesky(Distribution):
    """L of correlation matrices L Lᵀ (dim, dim) of density |L Lᵀ| ** (concentration - 1).

    With a concentration of 1 all are alike. Lewandowski, Kurowicka & Joe 2009. Errors: ShapeError
    for a ``dim`` below 2.
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive}

    def __init__(
        self, dim: int, concentration: TensorLike = 1.0, validate_args: bool | None = None
    ) -> None:
        if not isinstance(dim, int | np.integer) or dim < 2:
            raise ShapeError(f"LKJCholesky: dim={dim!r} must be a whole number, 2 or more")
        self.dim = int(dim)
        [self.concentration] = broadcast_all(concentration)
        super().__init__(self.concentration.shape, (self.dim, self.dim), validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """Lower triangular matrices with rows of length 1."""
        return constraints.corr_cholesky

    @beside()
    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw factors, row by row: a direction, and how far it goes (the onion method)."""
        random, n, dtype = generator(), self.dim, self.concentration.dtype
        shape = (*sample_shape, *self._batch_shape)
        eta = self.concentration.array.astype(np.float64)
        k = np.arange(1, n)  # row k has k numbers before the diagonal
        squares = random.beta(k / 2, eta[..., None] + (n - 1 - k) / 2, (*shape, n - 1))
        ways = np.tril(random.standard_normal((*shape, n, n)), -1)[..., 1:, :]
        ways /= np.sqrt(np.sum(ways * ways, axis=-1, keepdims=True))
        factor = np.zeros((*shape, n, n))
        factor[..., 0, 0] = 1
        factor[..., 1:, :] = np.sqrt(squares)[..., None] * ways
        factor[..., k, k] = np.sqrt(np.maximum(1 - squares, tiny(dtype)))
        return Tensor(factor.astype(dtype))

    def log_prob(self, value: TensorLike) -> Tensor:
        """Σ (dim - i + 2 concentration - 2) log Lᵢᵢ for i from 2 to dim, normalised."""
        x, eta, n = self._value(value, self.concentration), self.concentration, self.dim
        powers = 2 * (np.expand_dims(eta, -1) - 1) + fixed(
            np.arange(n - 2, -1, -1, dtype=eta.dtype)
        )
        logs = np.log(diagonal(x, axis1=-2, axis2=-1)[..., 1:])
        alpha = eta + 0.5 * (n - 1)
        normaliser = 0.5 * (n - 1) * math.log(math.pi) + mvlgamma(alpha - 0.5, n - 1)
        normaliser = normaliser - (n - 1) * lgamma(alpha)
        return recorded(np.sum(powers * logs, axis=-1) - normaliser)
