"""Factorisations: Cholesky, QR, eigenvalues of symmetric (Hermitian) matrices, singular values.

Gradients: Giles 2008 (Cholesky, eigenvalues, singular values), Walter & Lehmann 2010 (QR),
Boeddeker et al. 2017 (complex matrices). Vectors of complex ones are defined up to a phase each: a
loss that depends on it gets the gradient of phases that do not turn.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from distgrad.autograd.mode import grad_enabled
from distgrad.autograd.op import OpResult, OpResults, Sample, constant, dispatch, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import GradError, ShapeError
from distgrad.ops.complex_numbers import is_complex
from distgrad.ops.helpers import data_of, either_fused
from distgrad.ops.linalg import H, arrays
from distgrad.ops.solve import solve_triangular


class EighResult(NamedTuple):
    """What ``np.linalg.eigh`` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """What ``np.linalg.qr`` returns."""

    Q: Tensor
    R: Tensor


class QRRaw(NamedTuple):
    """What ``np.linalg.qr(mode="raw")`` returns: LAPACK's reflections, transposed, and factors."""

    h: Tensor
    tau: Tensor


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


@op("... n n -> ... n n", samples=_numbers)
def cholesky(a: Array, *, upper: bool = False) -> OpResult:
    """The lower L with a = L Lᴴ (or Lᴴ); a is Hermitian (that half is read), so is the gradient."""
    L = _positive_definite(H(a) if upper else a)

    def vjp(g: Array) -> Any:
        P = np.matmul(H(L), H(g) if upper else g)
        twice = np.tril(P) + H(np.tril(P, -1))
        left = either_fused(solve_triangular, H(L), twice, lower=False)
        return 0.5 * H(either_fused(solve_triangular, H(L), H(left), lower=False))

    return (H(L) if upper else L), vjp


@dispatch(np.linalg.cholesky, of=cholesky)
def _cholesky(a: Array | Tensor, *, upper: bool = False) -> Any:
    return cholesky(a, upper=upper)


@op("... n n -> ... n n", samples=_numbers)
def from_lower(a: Array) -> OpResult:
    """The Hermitian matrix whose lower half is a's; so is the gradient, as that of ``eigh``."""
    return np.tril(a) + H(np.tril(a, -1)), lambda g: 0.5 * (g + H(g))


def _positive_definite(a: Array | Tensor) -> Any:
    try:
        return cholesky(a) if isinstance(a, Tensor) else np.linalg.cholesky(a)
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
    w, V = np.linalg.eigh(a, UPLO)
    n = a.shape[-1]

    def vjp(gw: Array | None, gV: Array | None) -> Any:
        inner: Array | int = 0
        if gV is not None:
            unit = np.eye(n, dtype=w.dtype)
            gaps = np.expand_dims(w, -2) - np.expand_dims(w, -1) + unit
            X = np.matmul(H(V), gV)
            inner = 0.5 * (X - H(X)) / gaps
            if is_complex(X):
                inner = inner * (1 - unit)
        if gw is not None:
            inner = inner + _diagonal(gw)
        return np.matmul(V, np.matmul(inner, H(V)))

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
def svd(a: Array, *, full_matrices: bool = False) -> OpResults:
    """U, S, Vᴴ with a = U diag(S) Vᴴ, S descending; k is the smaller of m and n, reduced if asked.

    Where singular values coincide (or are 0, for m ≠ n), the gradient through U and Vᴴ is not
    defined: NaN or infinite, as in PyTorch; that through S alone is. The vectors that
    ``full_matrices`` adds have no gradient: GradError for a loss that depends on them.
    """
    U, S, Vh = np.linalg.svd(a, full_matrices=full_matrices)
    m, n = a.shape[-2:]
    k = min(m, n)

    def vjp(gU: Array | None, gS: Array | None, gVh: Array | None) -> Any:
        gU, gVh = _without_rest(gU, k, -1), _without_rest(gVh, k, -2)
        U_, Vh_ = (U[..., :k], Vh[..., :k, :]) if full_matrices else (U, Vh)
        if gU is None and gVh is None:
            return np.matmul(U_, np.expand_dims(S * 0 if gS is None else gS, -1) * Vh_)
        row, column = np.expand_dims(S, -2), np.expand_dims(S, -1)
        unit = np.eye(k, dtype=S.dtype)
        gaps = (row - column) * (row + column) + unit
        inner = _diagonal(S * 0 if gS is None else gS)
        outside: Array | int = 0
        if gU is not None:
            X = np.matmul(H(U_), gU)
            inner = inner + _skew(X) / gaps * row
            if is_complex(X):  # the diagonal of X - Xᴴ turns phases: U's part stands in for both
                inner = inner + _diagonal(1j * np.imag(_diagonal_of(X)) / S)
            if m > n:
                outside = np.matmul((gU - np.matmul(U_, X)) / row, Vh_)
        if gVh is not None:
            X = np.matmul(Vh_, H(gVh))
            inner = inner + column * (_skew(X) / gaps)
            if n > m:
                outside = outside + np.matmul(U_ / row, gVh - np.matmul(H(X), Vh_))
        return np.matmul(U_, np.matmul(inner, Vh_)) + outside

    return (U, S, Vh), vjp


@op("... m n -> ... k", samples=_matrices)
def singular_values(a: Array) -> OpResult:
    """S of ``svd`` alone, descending: without U and Vᴴ, which the gradient asks for."""

    def vjp(g: Array) -> Any:
        U, _, Vh = np.linalg.svd(a, full_matrices=False)
        return np.matmul(U, np.expand_dims(g, -1) * Vh)

    return np.linalg.svd(a, compute_uv=False), vjp


def _skew(X: Array) -> Array:
    """X - Xᴴ, without the imaginary diagonal of a complex one."""
    X = X - H(X)
    return X * (1 - np.eye(X.shape[-1], dtype=X.dtype.type(0).real.dtype)) if is_complex(X) else X


def _diagonal_of(X: Array) -> Array:
    return np.diagonal(X, 0, -2, -1)


def _without_rest(g: Array | None, k: int, axis: int) -> Array | None:
    """The gradient to the first k vectors. Errors: GradError if that to the others is not 0."""
    if g is None or g.shape[axis] == k:
        return g
    kept, rest = (g[..., :k], g[..., k:]) if axis == -1 else (g[..., :k, :], g[..., k:, :])
    if np.any(data_of(rest) != 0):
        raise GradError(
            "svd: the vectors that full_matrices=True adds have no gradient, and the loss depends "
            "on them; pass full_matrices=False"
        )
    return kept


@dispatch(np.linalg.svd)
def _svd(
    a: TensorLike, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    (a,) = arrays(a)
    if hermitian:
        return _svd_of_hermitian(a, compute_uv)
    if not compute_uv:
        return svd(a)[1] if _is_recorded(a) else singular_values(a)
    return SVDResult(*svd(a, full_matrices=full_matrices and a.shape[-1] != a.shape[-2]))


def _is_recorded(a: Any) -> bool:
    return isinstance(a, Tensor) and a.requires_grad and grad_enabled.get()


def _svd_of_hermitian(a: Array | Tensor, compute_uv: bool) -> Any:
    """The sizes of the eigenvalues, descending; their signs go to Vᴴ."""
    w, V = eigh(a)
    order = np.flip(np.argsort(np.abs(data_of(w)), -1, kind="stable"), -1)
    w = np.take_along_axis(w, order, -1)
    if not compute_uv:
        return np.abs(w)
    vectors: Any = np.take_along_axis(V, np.expand_dims(order, -2), -1)
    signs = np.where(data_of(w) < 0, -1, 1).astype(w.dtype)
    sizes: Any = np.abs(w)
    return SVDResult(vectors, sizes, H(vectors * np.expand_dims(signs, -2)))


@op("... m n -> ... m n, ... n n", samples=_tall)
def qr(a: Array) -> OpResults:
    """Q, R with a = Q R, reduced; a has at least as many rows as columns."""
    if a.shape[-2] < a.shape[-1]:
        raise ShapeError(f"qr takes as many rows as columns or more; got {a.shape}: np.linalg.qr")
    Q, R = np.linalg.qr(a)

    def vjp(gQ: Array | None, gR: Array | None) -> Any:
        M: Array | int = 0
        if gR is not None:
            M = np.matmul(gR, H(R))
        if gQ is not None:
            M = M - np.matmul(H(Q), gQ)
        whole = np.triu(M) + H(np.triu(M, 1))
        if is_complex(whole):  # R has a real diagonal
            whole = whole - _diagonal(1j * np.imag(_diagonal_of(whole)))
        inner = np.matmul(Q, whole)
        if gQ is not None:
            inner = inner + gQ
        return H(either_fused(solve_triangular, R, H(inner), lower=False))  # … R⁻ᴴ

    return (Q, R), vjp


@op("... m n -> ... m m, ... m n", samples=lambda rng: [])
def qr_complete(a: Array) -> OpResults:
    """Q, R with a = Q R, Q square; without gradients where m > n, whose last columns are free."""
    Q, R = np.linalg.qr(a, "complete")
    shape = a.shape

    def vjp(gQ: Array | None, gR: Array | None) -> Any:
        raise GradError(
            f"qr(mode='complete') of shape {shape}: the columns of Q that complete it are any, "
            f"and have no gradient; use mode='reduced'"
        )

    return (Q, R), vjp


@dispatch(np.linalg.qr)
def numpys_qr(a: TensorLike, mode: str = "reduced") -> Any:
    """``np.linalg.qr`` in every mode."""
    (a,) = arrays(a)
    m, n = a.shape[-2:]
    if mode == "raw":
        return QRRaw(*map(Tensor, np.linalg.qr(constant(a, "qr(mode='raw')", "a"), "raw")))
    if mode not in ("reduced", "complete", "r"):
        raise ShapeError(f"qr: the modes are 'reduced', 'complete', 'r' and 'raw'; got {mode!r}")
    if mode == "complete" and m > n:
        return QRResult(*qr_complete(a))
    if m >= n:
        Q, R = qr(a)
    else:
        # The first m columns give Q; the others are seen in its axes.
        Q, left = qr(a[..., :m])
        R = np.concatenate((left, np.matmul(H(Q), a[..., m:])), axis=-1)
    return R if mode == "r" else QRResult(Q, R)
