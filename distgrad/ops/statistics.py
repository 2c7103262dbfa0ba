"""Covariances and correlations of rows of observations."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.apart import keeps_form
from distgrad.autograd.op import OpResult, Sample, constant, dispatch, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.ops.helpers import conjugate, data_of, in_float32
from distgrad.ops.linalg import arrays


@dispatch(np.cov)
def cov(
    m: TensorLike,
    y: TensorLike | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: TensorLike | None = None,
    aweights: TensorLike | None = None,
    *,
    dtype: Any = None,
) -> Any:
    """``np.cov``: the covariances of variables, a row each (a column if not ``rowvar``)."""
    (x,) = arrays(m)
    x = x if dtype is None else x.astype(dtype)
    if x.ndim > 2:
        raise ShapeError(f"cov takes one variable or a matrix of them; got shape {x.shape}")
    x = np.atleast_2d(x)
    if not rowvar and np.ndim(data_of(m)) > 1:
        x = np.swapaxes(x, 0, 1)
    if y is not None:
        (other,) = arrays(y)
        other = np.atleast_2d(other if dtype is None else other.astype(dtype))
        if not rowvar and other.shape[0] != 1:
            other = np.swapaxes(other, 0, 1)
        x = np.concatenate((x, other), axis=0)
    correction = (0 if bias else 1) if ddof is None else ddof
    found = covariance(x, correction, fweights, aweights)
    return np.squeeze(found) if found.shape == (1, 1) else found


def covariance(x: Any, correction: float, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariances of rows; observations count ``fweights`` times, or with ``aweights``."""
    if fweights is not None or aweights is not None:
        return _weighted(x, correction, fweights, aweights)
    return row_covariances(x, correction=correction)


def _matrices(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(3, 5))
    return [((x,), {"correction": 1}), ((x[:1],), {"correction": 0})]


@op("m n -> m m", samples=_matrices)
@in_float32
def row_covariances(x: Array, *, correction: float) -> OpResult:
    """Σ (xᵢ - mean) (xⱼ - mean)* / (n - ``correction``) of all pairs of rows i, j."""
    n = x.shape[1]
    divisor = _divisor(n - correction)
    c = x - np.sum(x, axis=1, keepdims=True) / max(n, 1)

    def vjp(g: Array) -> Any:
        # That of c: as the rows of c have no mean, it has none that would be taken away.
        return np.matmul((g + conjugate(np.swapaxes(g, 0, 1))) / divisor, c)

    return np.matmul(c, conjugate(np.swapaxes(c, 0, 1))) / divisor, vjp


@whole
@keeps_form
def _weighted(x: Any, correction: float, fweights: Any, aweights: Any) -> Any:
    n = x.shape[1]
    w = _weights(fweights, n, "fweights", counts=True)
    a = _weights(aweights, n, "aweights")
    both = a if w is None else w if a is None else w * a
    total = np.sum(both)
    scale = total - correction * (1 if a is None else np.sum(both * a) / total)
    c = x - np.sum(x * both, axis=1, keepdims=True) / total
    return np.matmul(c * both, conjugate(np.swapaxes(c, 0, 1))) / _divisor(scale)


def _divisor(scale: Any) -> Any:
    """NaN for 0 or less: too few observations."""
    return scale if scale > 0 else np.nan


def _weights(w: Any, n: int, name: str, counts: bool = False) -> Any:
    if w is None:
        return None
    found = np.asarray(constant(w, "cov", name) if counts else data_of(w))
    if found.shape != (n,) or (found < 0).any() or (counts and found.dtype.kind not in "iu"):
        kind = "whole numbers" if counts else "numbers"
        raise ShapeError(
            f"cov: {name} are {kind} ≥ 0, one for each of {n} observations; got shape "
            f"{found.shape}, {found.dtype}"
        )
    return found if counts or not isinstance(w, Tensor) else w


@dispatch(np.corrcoef)
def corrcoef(x: TensorLike, y: TensorLike | None = None, rowvar: bool = True) -> Any:
    """``np.corrcoef``: covariances over the products of standard deviations."""
    return correlations(cov(x, y, rowvar))


def correlations(c: Any) -> Any:
    """Covariances, scaled so that the diagonal is 1."""
    if c.ndim == 0:
        return c / c
    deviation = np.sqrt(np.real(np.diagonal(c)))
    return c / np.expand_dims(deviation, 1) / np.expand_dims(deviation, 0)
