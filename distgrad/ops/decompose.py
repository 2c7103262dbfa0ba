"""Factorisations of real matrices: Cholesky, QR, eigenvalues of symmetric ones, singular values.

Gradients: Giles 2008 (Cholesky, eigenvalues, singular values), Walter & Lehmann 2010 (QR).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from distgrad.autograd.op import OpResult, OpResults, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.ops.complex_numbers import call
from distgrad.ops.helpers import data_of
from distgrad.ops.linalg import T, arrays
from distgrad.ops.solve import real_only, solve_triangular


class EighResult(NamedTuple):
    """What ``np.linalg.eigh`` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """What ``np.linalg.qr`` returns."""

    Q: Tensor
    R: Tensor


class SVDResult(NamedTuple):
    """What ``np.linalg.svd`` returns."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _numbers(rng: np.random.Generator) -> list[Sample]:
    # Central differences of single elements leave the symmetric matrices, on which these ops are
    # defined: larger ones are checked through a + aᵀ in tests/ops/test_linalg.py.
    return [((rng.uniform(1, 2, size=s),), {}) for s in ((1, 1), (3, 1, 1))]


def _tall(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=s),), {}) for s in ((3, 3), (4, 2), (2, 3, 2))]


def _matrices(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=s),), {}) for s in ((3, 3), (4, 2), (2, 2, 3))]


@op("... n n -> ... n n", function=np.linalg.cholesky, samples=_numbers)
def cholesky(a: Array) -> OpResult:
    """The lower L with a = L Lᵀ; a is symmetric (its lower half is read), so is the gradient."""
    real_only("cholesky", a)
    L = _positive_definite(a)

    def vjp(g: Array) -> Any:
        P = np.matmul(T(L), g)
        twice = np.tril(P) + T(np.tril(P, -1))
        left = call(solve_triangular, T(L), twice, lower=False)
        return 0.5 * T(call(solve_triangular, T(L), T(left), lower=False))

    return L, vjp


def _positive_definite(a: Array) -> Array:
    try:
        return np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        x = data_of(a)
        if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
            raise  # worded from the signature
        least = float(np.linalg.eigvalsh(x).min())
        raise ShapeError(
            f"cholesky: a matrix is not positive definite, its smallest eigenvalue is {least:.3g}; "
            f"add a little more than that, times np.eye({x.shape[-1]}), or check that it is "
            f"symmetric"
        ) from None


@op("... n n -> ... n, ... n n", samples=_numbers)
def eigh(a: Array, *, UPLO: Literal["L", "U"] = "L") -> OpResults:
    """Eigenvalues, ascending, and eigenvectors (columns) of a symmetric a.

    The triangle named by UPLO is read. Where eigenvalues coincide, the gradient through the
    eigenvectors is not defined: NaN or infinite, as in PyTorch; that through the values is.
    """
    real_only("eigh", a)
    w, V = np.linalg.eigh(a, UPLO)

    def vjp(gw: Array | None, gV: Array | None) -> Any:
        inner: Array | int = 0
        if gV is not None:
            unit = np.eye(a.shape[-1], dtype=a.dtype)
            gaps = np.expand_dims(w, -2) - np.expand_dims(w, -1) + unit
            X = np.matmul(T(V), gV)
            inner = 0.5 * (X - T(X)) / gaps
        if gw is not None:
            inner = inner + _diagonal(gw)
        return np.matmul(V, np.matmul(inner, T(V)))

    return (w, V), vjp


def _diagonal(s: Array) -> Array:
    return np.expand_dims(s, -1) * np.eye(s.shape[-1], dtype=s.dtype)


@dispatch(np.linalg.eigh)
def _eigh(a: Array | Tensor, UPLO: Literal["L", "U"] = "L") -> EighResult:
    return EighResult(*eigh(a, UPLO=UPLO))


@dispatch(np.linalg.eigvalsh)
def eigvalsh(a: Array | Tensor, UPLO: Literal["L", "U"] = "L") -> Any:
    """``np.linalg.eigvalsh``: the eigenvalues of ``eigh`` alone."""
    return eigh(a, UPLO=UPLO)[0]


@op("... m n -> ... m k, ... k, ... k n", samples=_matrices)
def svd(a: Array) -> OpResults:
    """U, S, Vᵀ with a = U diag(S) Vᵀ, reduced (k is the smaller of m and n), S descending.

    Where singular values coincide (or are 0, for m ≠ n), the gradient through U and Vᵀ is not
    defined: NaN or infinite, as in PyTorch; that through S alone is.
    """
    real_only("svd", a)
    U, S, Vt = np.linalg.svd(a, full_matrices=False)
    m, n = a.shape[-2:]

    def vjp(gU: Array | None, gS: Array | None, gVt: Array | None) -> Any:
        row, column = np.expand_dims(S, -2), np.expand_dims(S, -1)
        gaps = (row - column) * (row + column) + np.eye(min(m, n), dtype=a.dtype)
        inner = _diagonal(S * 0 if gS is None else gS)
        outside: Array | int = 0
        if gU is not None:
            X = np.matmul(T(U), gU)
            inner = inner + (X - T(X)) / gaps * row
            if m > n:
                outside = np.matmul((gU - np.matmul(U, X)) / row, Vt)
        if gVt is not None:
            X = np.matmul(Vt, T(gVt))
            inner = inner + column * ((X - T(X)) / gaps)
            if n > m:
                outside = outside + np.matmul(U / row, gVt - np.matmul(T(X), Vt))
        return np.matmul(U, np.matmul(inner, Vt)) + outside

    return (U, S, Vt), vjp


@dispatch(np.linalg.svd)
def _svd(
    a: TensorLike, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    (a,) = arrays(a)
    if hermitian:
        raise ShapeError("svd(hermitian=True) is not there for Tensors; use np.linalg.eigh")
    if not compute_uv:
        return svd(a)[1]
    if full_matrices and a.shape[-1] != a.shape[-2]:
        raise ShapeError(
            f"svd of a Tensor of shape {a.shape}: the vectors that full_matrices=True adds have "
            f"no gradient; pass full_matrices=False"
        )
    return SVDResult(*svd(a))


@op("... m n -> ... m n, ... n n", samples=_tall)
def qr(a: Array) -> OpResults:
    """Q, R with a = Q R, reduced; a has at least as many rows as columns."""
    real_only("qr", a)
    if a.shape[-2] < a.shape[-1]:
        raise ShapeError(f"qr takes as many rows as columns or more; got {a.shape}: np.linalg.qr")
    Q, R = np.linalg.qr(a)

    def vjp(gQ: Array | None, gR: Array | None) -> Any:
        M: Array | int = 0
        if gR is not None:
            M = np.matmul(gR, T(R))
        if gQ is not None:
            M = M - np.matmul(T(Q), gQ)
        inner = np.matmul(Q, np.triu(M) + T(np.triu(M, 1)))
        if gQ is not None:
            inner = inner + gQ
        return T(call(solve_triangular, R, T(inner), lower=False))  # … R⁻ᵀ

    return (Q, R), vjp


@dispatch(np.linalg.qr)
def _qr(a: TensorLike, mode: str = "reduced") -> Array | QRResult:
    (a,) = arrays(a)
    m, n = a.shape[-2:]
    if mode not in ("reduced", "r") and not (mode == "complete" and m <= n):
        raise ShapeError(
            f"qr(mode={mode!r}) of a Tensor of shape {a.shape} has no gradient; use mode='reduced'"
        )
    if m >= n:
        Q, R = qr(a)
    else:
        # The first m columns give Q; the others are seen in its axes.
        Q, left = qr(a[..., :m])
        R = np.concatenate((left, np.matmul(T(Q), a[..., m:])), axis=-1)
    return R if mode == "r" else QRResult(Q, R)
