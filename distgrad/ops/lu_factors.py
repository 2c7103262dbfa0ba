"""The LU factorisation with partial pivoting, and products of Householder's reflections.

NumPy shows LAPACK's LU only through solve, so small matrices are eliminated here, a column at a
time for all of a stack.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad import lapack
from distgrad.autograd.apart import fixed
from distgrad.autograd.op import OpResults, Sample, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, Shape
from distgrad.ops.helpers import conjugate, data_of, either_fused
from distgrad.ops.linalg import H
from distgrad.ops.solve import regular, solve_triangular


def _matrices(rng: np.random.Generator) -> list[Sample]:
    tall, wide = rng.normal(size=(4, 2)), rng.normal(size=(2, 2, 3))
    square = [regular(rng, *shape)[..., ::-1, :] for shape in ((3, 3), (2, 2, 2), (1, 1))]
    return [((x,), {}) for x in (*square, tall, wide)]


def _any_matrices(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=shape),), {}) for shape in ((3, 3), (2, 4, 2), (2, 3))]


@op("... m n -> ... m n, ... k", samples=_matrices)
def lu_factor(a: Array | Tensor) -> OpResults:
    """L (unit diagonal, not stored) and U of P a = L U in one; P's exchanges of rows, from 0 on.

    Gradient: de Hoog, Anderssen & Lukas 2011; beside and below the square as in PyTorch.
    """
    y, pivots = lu_factor(a) if isinstance(a, Tensor) else _factored(a)
    order = permutation_of(data_of(pivots), a.shape[-2])
    return (y, pivots), lambda g, _: lu_gradient(g, y, order)


def lu_gradient(g: Any, y: Array | Tensor, order: Array) -> Any:
    """The gradient to a of that to its L and U; ``order`` is that of a's rows in them."""
    m, n = y.shape[-2:]
    k = min(m, n)
    L, U = _unit(y[..., :k, :k]), np.triu(y[..., :k, :k])
    square = g[..., :k, :k]
    lower = np.matmul(H(L), np.tril(square, -1))
    upper = np.matmul(np.triu(square), H(U))
    if n > m:
        lower = lower - np.matmul(g[..., k:], H(y[..., k:]))
    if m > n:
        upper = upper - np.matmul(H(y[..., k:, :]), g[..., k:, :])
    inner: Any = np.tril(lower, -1) + np.triu(upper)
    solved = either_fused  # a closure may hold arrays or Tensors
    if m > n:  # L⁻ᴴ of the square, then all times U⁻ᴴ from the right
        inner = solved(solve_triangular, H(L), inner, lower=False, unit_diagonal=True)
        inner = np.concatenate((inner, g[..., k:, :]), axis=-2)
        inner = H(solved(solve_triangular, U, H(inner), lower=False))
    else:
        inner = H(solved(solve_triangular, U, H(inner), lower=False))
        if n > m:
            inner = np.concatenate((inner, g[..., k:]), axis=-1)
        inner = solved(solve_triangular, H(L), inner, lower=False, unit_diagonal=True)
    return np.take_along_axis(inner, np.expand_dims(np.argsort(order, -1), -1), -2)


def _unit(y: Array | Tensor) -> Any:
    return np.tril(y, -1) + fixed(np.eye(*y.shape[-2:], dtype=y.dtype))


_SMALL = 32
"""Rows of matrices that are eliminated here, all of a stack at once; larger ones are LAPACK's."""


def _factored(a: Array) -> tuple[Array, Array]:
    if a.ndim < 2:
        raise ValueError("a is not a matrix")
    if min(a.shape[-2:]) > _SMALL and lapack.has_lu(a.dtype):
        return lapack.lu(a)
    return _eliminated(a)


def _eliminated(a: Array) -> tuple[Array, Array]:
    """Gauss's elimination; which row each of the first ones is exchanged with, from 0 on."""
    y = np.array(a)
    pivots = np.zeros((*y.shape[:-2], min(y.shape[-2:])), np.int64)
    for k in range(min(y.shape[-2:])):
        _exchange(y, k, pivots)
        top = y[..., k : k + 1, k : k + 1]
        y[..., k + 1 :, k : k + 1] /= np.where(top == 0, 1, top)  # zeros all below a zero
        y[..., k + 1 :, k + 1 :] -= y[..., k + 1 :, k : k + 1] * y[..., k : k + 1, k + 1 :]
    return y, pivots


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


def permutation_of(pivots: Array, rows: int) -> Array:
    """The rows in the order that ``pivots`` bring them in: (..., rows)."""
    front, k = pivots.shape[:-1], pivots.shape[-1]
    swaps = pivots.reshape(math.prod(front), k).T
    order = np.arange(rows)[:, None].repeat(swaps.shape[1], 1)
    stacked = np.arange(swaps.shape[1])
    for row, other in zip(order, swaps, strict=False):
        moved = order[other, stacked]
        order[other, stacked] = row
        row[...] = moved
    found: Array = order.T.reshape(*front, rows)
    return found


@op("... m n -> ... m k, ... k n", samples=_any_matrices)
def lu_unpack(y: Array) -> OpResults:
    """L (m, k) and U (k, n) of what ``lu_factor`` returned."""
    k = min(y.shape[-2:])
    shape = y.shape

    def vjp(gL: Array | None, gU: Array | None) -> Any:
        found: Any = 0
        if gL is not None:
            found = _widened(np.tril(gL, -1), shape)
        return found if gU is None else found + _widened(np.triu(gU), shape)

    return (_unit(y[..., :k]), np.triu(y[..., :k, :])), vjp


def _widened(g: Any, shape: Shape) -> Any:
    """Zeros to the right or below, up to ``shape``."""
    if g.shape == shape:
        return g
    ends = [(0, n - m) for n, m in zip(shape, g.shape, strict=True)]
    return np.pad(g, ends)


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
