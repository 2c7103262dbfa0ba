"""Transforms whose values are vectors and matrices: simplices, Cholesky factors, covariances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, Shape
from distgrad.distributions import constraints
from distgrad.distributions.shared import eps, recorded, tiny
from distgrad.distributions.transform import Transform
from distgrad.errors import ShapeError
from distgrad.ops.activation import softplus
from distgrad.ops.diagonal import diagonal, tril


class StickBreakingTransform(Transform):
    """k numbers as k + 1 probabilities: each takes its part of what the others have left."""

    domain, codomain = constraints.real_vector, constraints.simplex

    def _call(self, x: Tensor) -> Tensor:
        part = x - _log_left(x.shape[-1], x.dtype)
        taken, kept = -softplus(-part), -softplus(part)  # the logs of both parts
        none = fixed(np.zeros((*x.shape[:-1], 1), x.dtype))
        before = np.concatenate([none, np.cumsum(kept, axis=-1)], axis=-1)
        return recorded(np.exp(before + np.concatenate([taken, none], axis=-1)))

    def _inverse(self, y: Tensor) -> Tensor:
        first = y[..., :-1]
        left = np.clip(1 - np.cumsum(first, axis=-1), tiny(y.dtype), None)
        return recorded(np.log(first) - np.log(left) + _log_left(first.shape[-1], y.dtype))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return Σ log y + log of what each has left."""
        part = x - _log_left(x.shape[-1], x.dtype)
        return recorded(np.sum(np.log(y[..., :-1]) - softplus(part), axis=-1))

    def forward_shape(self, shape: Shape) -> Shape:
        """Return ``shape`` with one number more."""
        _check_axes(self, shape, 1)
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return ``shape`` with one number less."""
        _check_axes(self, shape, 1)
        return (*shape[:-1], shape[-1] - 1)


class LowerCholeskyTransform(Transform):
    """Square matrices as lower triangular ones with a positive diagonal: its exponential."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x: Tensor) -> Tensor:
        return _with_diagonal(x, np.exp(_diagonal(x)))

    def _inverse(self, y: Tensor) -> Tensor:
        return _with_diagonal(y, np.log(_diagonal(y)))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Errors: NotImplementedError: what is above the diagonal is lost."""
        raise NotImplementedError("LowerCholeskyTransform has no log_abs_det_jacobian")


class PositiveDefiniteTransform(Transform):
    """Square matrices as positive definite ones: L Lᵀ of LowerCholeskyTransform's L."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        factor = LowerCholeskyTransform()(x)
        return recorded(factor @ np.swapaxes(factor, -2, -1))

    def _inverse(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform().inv(np.linalg.cholesky(y))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Errors: NotImplementedError: what is above the diagonal is lost."""
        raise NotImplementedError("PositiveDefiniteTransform has no log_abs_det_jacobian")


class CorrCholeskyTransform(Transform):
    """n (n - 1) / 2 numbers as the Cholesky factor of a correlation matrix, rows of length 1.

    Each row breaks a stick by the squares of tanh(x), with their signs (Stan's manual).
    """

    domain, codomain = constraints.real_vector, constraints.corr_cholesky

    def _call(self, x: Tensor) -> Tensor:
        e = eps(x.dtype)
        z = _lower_of(np.clip(np.tanh(x), -1 + e, 1 - e))
        left = np.cumprod(np.sqrt(1 - z * z), axis=-1)
        one = fixed(np.ones((*z.shape[:-1], 1), z.dtype))
        before = np.concatenate([one, left[..., :-1]], axis=-1)
        return recorded((z + fixed(np.eye(z.shape[-1], dtype=z.dtype))) * before)

    def _inverse(self, y: Tensor) -> Tensor:
        one = fixed(np.ones((*y.shape[:-1], 1), y.dtype))
        left = np.concatenate([one, (1 - np.cumsum(y * y, axis=-1))[..., :-1]], axis=-1)
        rows, columns = map(fixed, np.tril_indices(y.shape[-1], -1))
        t = y[..., rows, columns] / np.sqrt(left[..., rows, columns])
        return recorded(0.5 * (np.log1p(t) - np.log1p(-t)))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ½ Σ log of what each place of a row has left, and tanh's log derivatives."""
        left = 1 - np.cumsum(y * y, axis=-1)
        rows, columns = map(fixed, np.tril_indices(y.shape[-1], -2))
        stick = 0.5 * np.sum(np.log(left[..., rows, columns]), axis=-1)
        slope = -2 * np.sum(x + softplus(-2 * x) - math.log(2.0), axis=-1)
        return recorded(stick + slope)

    def forward_shape(self, shape: Shape) -> Shape:
        """Return (…, n, n) for (…, n (n - 1) / 2). Errors: ShapeError for another length."""
        _check_axes(self, shape, 1)
        n = _side(shape[-1])
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return (…, n (n - 1) / 2) for (…, n, n)."""
        _check_axes(self, shape, 2)
        if shape[-1] != shape[-2]:
            raise ShapeError(f"CorrCholeskyTransform: {shape} is no shape of square matrices")
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


def _check_axes(transform: Transform, shape: Shape, axes: int) -> None:
    if len(shape) < axes:
        raise ShapeError(
            f"{type(transform).__name__}: a value of shape {shape} has too few axes for events of "
            f"{axes}"
        )


def _log_left(k: int, dtype: Any) -> Array:
    """The logs of k, k - 1, …, 1: for x = 0 all parts of a stick are alike."""
    return fixed(np.log(np.arange(k, 0, -1)).astype(dtype))


def _diagonal(x: Tensor) -> Any:
    return diagonal(x, axis1=-2, axis2=-1)


def _with_diagonal(x: Tensor, values: Any) -> Tensor:
    eye = fixed(np.eye(x.shape[-1], dtype=x.dtype))
    return recorded(tril(x, k=-1) + np.expand_dims(values, -1) * eye)


def _side(length: int) -> int:
    n = round((1 + math.sqrt(1 + 8 * length)) / 2)
    if n * (n - 1) // 2 != length:
        raise ShapeError(
            f"CorrCholeskyTransform: a vector of {length} is no lower triangle: n (n - 1) / 2 "
            f"numbers make one"
        )
    return n


def _lower_of(x: Any) -> Any:
    """Vectors (…, n (n - 1) / 2) as what is below the diagonal of (…, n, n), row by row."""
    n, length = _side(x.shape[-1]), x.shape[-1]
    places = np.full((n, n), length)  # the 0 that is put at the end
    places[np.tril_indices(n, -1)] = np.arange(length)
    none = fixed(np.zeros((*x.shape[:-1], 1), x.dtype))
    return np.concatenate([x, none], axis=-1)[..., fixed(places)]
