"""The LU factorisation with partial pivoting, and products of Householder's reflections.

NumPy shows LAPACK's LU only through solve, so it is eliminated here, a column at a time for all
matrices of a stack.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.ops.helpers import conjugate, data_of, either_fused
from distgrad.ops.linalg import H
from distgrad.ops.solve import regular, solve_triangular


def _matrices(rng: np.random.Generator) -> list[Sample]:
    return [((regular(rng, *shape),), {}) for shape in ((3, 3), (2, 2, 2), (1, 1))]


@op("... n n -> ... n n", samples=_matrices)
def lu_unpivoted(a: Array | Tensor) -> OpResult:
    """L (unit diagonal, not stored) and U with a = L U, in one matrix; rows are not exchanged.

    Gradient: de Hoog, Anderssen & Lukas 2011.
    """
    y = lu_unpivoted(a) if isinstance(a, Tensor) else _eliminated(a)

    def vjp(g: Array) -> Any:
        L, U = _unit(y), np.triu(y)
        inner = np.tril(np.matmul(H(L), np.tril(g, -1)), -1) + np.triu(np.matmul(np.triu(g), H(U)))
        left = either_fused(solve_triangular, H(L), inner, lower=False, unit_diagonal=True)
        return H(either_fused(solve_triangular, U, H(left), lower=False))

    return y, vjp


def _unit(y: Array) -> Array:
    return np.tril(y, -1) + fixed(np.eye(y.shape[-1], dtype=y.dtype))


def _eliminated(a: Array, pivots: Array | None = None) -> Array:
    """Gauss's elimination; rows are exchanged, and said to be in ``pivots``, if that is given."""
    y = np.array(a)
    if y.ndim < 2:
        raise ValueError("a is not a matrix")
    for k in range(min(y.shape[-2:])):
        if pivots is not None:
            _exchange(y, k, pivots)
        top = y[..., k : k + 1, k : k + 1]
        y[..., k + 1 :, k : k + 1] /= np.where(top == 0, 1, top)  # zeros all below a zero
        y[..., k + 1 :, k + 1 :] -= y[..., k + 1 :, k : k + 1] * y[..., k : k + 1, k + 1 :]
    return y


def _exchange(y: Array, k: int, pivots: Array) -> None:
    """Bring the largest element of column k, from row k on, to row k (LAPACK's order of size)."""
    column = y[..., k:, k]
    size = np.abs(column.real) + np.abs(column.imag)
    best = k + np.argmax(size, axis=-1)
    pivots[..., k] = best
    rows = np.broadcast_to(best[..., None, None], (*y.shape[:-2], 1, y.shape[-1]))
    other = np.take_along_axis(y, rows, -2)
    np.put_along_axis(y, rows, y[..., k : k + 1, :].copy(), -2)
    y[..., k : k + 1, :] = other


@apart
@keeps_form
def lu_pivots(a: Array | Tensor) -> Array:
    """Which row each of the first ones is exchanged with, from 0 on: (..., k)."""
    x = data_of(a)
    pivots = np.zeros((*x.shape[:-2], min(x.shape[-2:])), np.int64)
    _eliminated(x, pivots)
    return pivots


@apart
@keeps_form
def _rows(pivots: Array, rows: int) -> Array:
    return np.expand_dims(permutation_of(pivots, rows), -1)


def permutation_of(pivots: Array, rows: int) -> Array:
    """The rows in the order that ``pivots`` bring them in: (..., rows)."""
    order = np.broadcast_to(np.arange(rows), (*pivots.shape[:-1], rows)).copy()
    for k in range(pivots.shape[-1]):
        other = pivots[..., k : k + 1]
        moved = np.take_along_axis(order, other, -1)
        np.put_along_axis(order, other, order[..., k : k + 1].copy(), -1)
        order[..., k : k + 1] = moved
    return order


def lu_factor(a: Array | Tensor) -> tuple[Any, Array]:
    """L and U in one matrix of a's shape, and the pivots (from 0 on)."""
    if a.ndim < 2:
        raise ShapeError(f"lu takes matrices; got shape {a.shape}")
    pivots = lu_pivots(a)
    m, n = a.shape[-2:]
    k = min(m, n)
    a = np.take_along_axis(a, _rows(pivots, m), -2)
    y = either_fused(lu_unpivoted, a[..., :k, :k])
    if m > n:
        below = H(either_fused(solve_triangular, H(np.triu(y)), H(a[..., k:, :]), lower=True))
        y = np.concatenate((y, below), axis=-2)
    elif n > m:
        beside = either_fused(solve_triangular, y, a[..., k:], unit_diagonal=True)
        y = np.concatenate((y, beside), axis=-1)
    return y, pivots


def lu_unpack(y: Array | Tensor) -> tuple[Any, Any]:
    """L (m, k) and U (k, n) of what ``lu_factor`` returned."""
    m, n = y.shape[-2:]
    k = min(m, n)
    return np.tril(y[..., :k], -1) + fixed(np.eye(m, k, dtype=y.dtype)), np.triu(y[..., :k, :])


def reflected(h: Array | Tensor, tau: Array | Tensor, other: Any, adjoint: bool = False) -> Any:
    """H₀ H₁ … times ``other`` (or the adjoint of that), Hᵢ = I - τᵢ vᵢ vᵢᴴ.

    vᵢ is 0 above row i, 1 there and column i of ``h`` below.
    """
    m, k = h.shape[-2], tau.shape[-1]
    v = np.tril(h[..., :k], -1) + fixed(np.eye(m, k, dtype=h.dtype))
    for i in range(k) if adjoint else reversed(range(k)):
        column = v[..., i : i + 1]
        factor: Any = tau[..., i : i + 1]
        factor = np.expand_dims(conjugate(factor) if adjoint else factor, -1)
        other = other - factor * np.matmul(column, np.matmul(H(column), other))
    return other
