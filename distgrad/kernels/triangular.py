"""Twins of what is solved row by row in small matrices: triangles and Cholesky's factor.

LAPACK is called for each matrix anew, which takes longer than the sums in a small one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import dense, suits
from distgrad.kernels.jit import kernel

LARGEST = 32
"""Rows of the matrices that are solved here; larger ones are LAPACK's."""


def are_small(a: Array, *others: Array) -> bool:
    """Whether ``a`` is a stack of small square matrices, and the others are as many, as high."""
    if type(a) is not np.ndarray or not suits(a, *others) or a.ndim < 2:
        return False
    n = a.shape[-1]
    if a.shape[-2] != n or n > LARGEST:
        return False
    return all(b.shape[:-1] == a.shape[:-1] and b.ndim == a.ndim for b in others)


def stack(a: Array) -> Array:
    """Return ``a`` as one row of matrices."""
    return dense(a).reshape(-1, *a.shape[-2:])


def solve_triangular(
    a: Array, b: Array, *, lower: bool = True, unit_diagonal: bool = False
) -> OpResult | None:
    """The twin of ``ops.solve_triangular`` for small triangles, one for each right side."""
    if not are_small(a, b):
        return None
    low, unit, matrices = bool(lower), bool(unit_diagonal), stack(a)
    x = np.empty(b.shape, b.dtype)
    if not _solve(matrices, stack(b), low, unit, stack(x)):
        return None  # the reference says which is singular
    shape = a.shape

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, Array]:
        gb = np.array(g, order="C")
        _solve_transposed(matrices, low, unit, stack(gb))
        if not wanted[0]:
            return None, gb
        ga = np.empty(shape, x.dtype)
        _minus_outer(stack(gb), stack(x), low, unit, stack(ga))
        return ga, gb

    return x, Joint(vjp)


@kernel
def _solve(a: Array, b: Array, lower: bool, unit: bool, x: Array) -> Any:
    n, fits = a.shape[1], True
    for m in range(a.shape[0]):
        for s in range(n):
            i = s if lower else n - 1 - s
            for c in range(x.shape[2]):
                x[m, i, c] = b[m, i, c]
            for t in range(s):
                j = t if lower else n - 1 - t
                f = a[m, i, j]
                for c in range(x.shape[2]):
                    x[m, i, c] -= f * x[m, j, c]
            if not unit:
                d = a[m, i, i]
                fits &= d != 0
                for c in range(x.shape[2]):
                    x[m, i, c] /= d
    return fits


@kernel
def _solve_transposed(a: Array, lower: bool, unit: bool, x: Array) -> None:
    # Row i is done once all after it are; its part is taken from those before. In place.
    n = a.shape[1]
    for m in range(a.shape[0]):
        for s in range(n):
            i = n - 1 - s if lower else s
            if not unit:
                d = a[m, i, i]
                for c in range(x.shape[2]):
                    x[m, i, c] /= d
            for t in range(n - 1 - s):
                j = t if lower else n - 1 - t
                f = a[m, i, j]
                for c in range(x.shape[2]):
                    x[m, j, c] -= f * x[m, i, c]


@kernel
def _minus_outer(u: Array, v: Array, lower: bool, unit: bool, d: Array) -> None:
    zero, n = d.dtype.type(0), d.shape[1]
    own = 0 if unit else 1
    for m in range(d.shape[0]):
        for i in range(n):
            first, last = (0, i + own) if lower else (i + 1 - own, n)
            for j in range(n):
                d[m, i, j] = zero
            for j in range(first, last):
                total = zero
                for c in range(u.shape[2]):
                    total += u[m, i, c] * v[m, j, c]
                d[m, i, j] = -total


def cholesky(a: Array, *, upper: bool = False) -> OpResult | None:
    """The twin of ``ops.cholesky`` for small matrices."""
    if not are_small(a):
        return None
    factor = np.zeros(a.shape, a.dtype)
    rows = stack(factor)
    if not _factorise(stack(np.swapaxes(a, -1, -2) if upper else a), rows):
        return None  # the reference says which is not positive definite

    def vjp(g: Array) -> Array:
        # Half of L⁻ᵀ (P + Pᵀ) L⁻¹, P the lower half of Lᵀ g with half of its diagonal.
        w = np.empty(rows.shape, rows.dtype)
        _symmetric_products(stack(np.swapaxes(g, -1, -2) if upper else g), rows, w)
        _solve_transposed(rows, True, False, w)
        w = np.swapaxes(w, -1, -2) * w.dtype.type(0.5)
        w = np.array(w, order="C")
        _solve_transposed(rows, True, False, w)
        return w.reshape(g.shape)

    return (np.swapaxes(factor, -1, -2) if upper else factor), vjp


@kernel
def _factorise(a: Array, x: Array) -> Any:
    n, fits = a.shape[1], True
    for m in range(a.shape[0]):
        for i in range(n):
            for j in range(i + 1):
                total = a[m, i, j]
                for k in range(j):
                    total -= x[m, i, k] * x[m, j, k]
                if i == j:
                    fits &= total > 0  # not of NaN
                    x[m, i, i] = np.sqrt(total)
                else:
                    x[m, i, j] = total / x[m, j, j]
    return fits


@kernel
def _symmetric_products(g: Array, x: Array, w: Array) -> None:
    zero, n = w.dtype.type(0), w.shape[1]
    for m in range(w.shape[0]):
        for i in range(n):
            for j in range(i + 1):
                w[m, i, j] = zero
            for k in range(i, n):
                f = x[m, k, i]
                for j in range(i + 1):
                    w[m, i, j] += f * g[m, k, j]
            for j in range(i):
                w[m, j, i] = w[m, i, j]
