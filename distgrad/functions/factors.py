"""Factorisations by the names, orders of arguments and results of ``torch.linalg``."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from distgrad import kernels, ops
from distgrad.autograd.apart import apart, count_of, fixed, keeps_form
from distgrad.autograd.op import constant
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.autograd.whole import whole
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.out import with_out
from distgrad.ops.decompose import EighResult, QRResult, SVDResult, numpys_qr
from distgrad.ops.eig import EigResult
from distgrad.ops.helpers import data_of
from distgrad.ops.indexing import as_tensor
from distgrad.ops.linalg import H
from distgrad.ops.lu_factors import permutation_of, reflected

__all__ = [
    "cholesky",
    "cholesky_ex",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "householder_product",
    "lu",
    "lu_factor",
    "lu_factor_ex",
    "lu_solve",
    "qr",
    "svd",
    "svdvals",
]


class CholeskyExResult(NamedTuple):
    """What ``cholesky_ex`` returns."""

    L: Tensor
    info: Tensor


class LUResult(NamedTuple):
    """What ``lu`` returns: A = P L U."""

    P: Tensor
    L: Tensor
    U: Tensor


class LUFactorResult(NamedTuple):
    """What ``lu_factor`` returns: L and U in one matrix, and the row exchanges from 1 on."""

    LU: Tensor
    pivots: Tensor


class LUFactorExResult(NamedTuple):
    """What ``lu_factor_ex`` returns: ``info`` is the place of the first zero pivot, from 1 on."""

    LU: Tensor
    pivots: Tensor
    info: Tensor


def plain(name: str, function: Any, a: Array, **settings: Any) -> Any:
    """Return a function of NumPy's of an array, outside the tape. Errors: ShapeError."""
    try:
        return function(a, **settings)
    except (np.linalg.LinAlgError, TypeError) as error:
        raise ShapeError(f"{name} of {a.dtype} {a.shape}: {error}") from error


def matrices(A: TensorLike, name: str, square: bool = False) -> Tensor:
    """Return ``A`` as a Tensor of matrices (square ones, if asked). Errors: ShapeError."""
    A = as_tensor(A)
    if A.ndim < 2:
        raise ShapeError(f"{name} takes matrices (…, m, n); got shape {A.shape}")
    if square and A.shape[-1] != A.shape[-2]:
        raise ShapeError(f"{name} takes square matrices (…, n, n); got shape {A.shape}")
    return A


def as_many(B: Tensor, A: Tensor) -> Tensor:
    """Return B, a stack of matrices, as often as it broadcasts to with that of A."""
    front, own = A.shape[:-2], B.shape[:-2]
    if front == own:
        return B
    return as_tensor(np.broadcast_to(B, (*np.broadcast_shapes(front, own), *B.shape[-2:])))


# -- Cholesky -------------------------------------------------------------------------------------


@with_out
def cholesky(A: TensorLike, *, upper: bool = False) -> Tensor:
    """The lower L with A = L Lᴴ (or the upper Lᴴ). Errors: ShapeError for an A that has none."""
    return as_tensor(ops.cholesky(matrices(A, "cholesky", square=True), upper=upper))


@with_out
@whole
@keeps_form
def cholesky_ex(
    A: TensorLike, *, upper: bool = False, check_errors: bool = False
) -> CholeskyExResult:
    """``cholesky`` that does not raise: ``info`` is the order of the first minor that is not
    positive definite, 0 if all are; L is NaN there.
    """
    A = matrices(A, "cholesky_ex", square=True)
    if A.dtype.kind not in "fc" or A.dtype == np.float16:
        raise DistgradError(f"cholesky_ex of {A.dtype}; use A.float() or A.double()")
    if check_errors:
        return CholeskyExResult(cholesky(A, upper=upper), _zeros(A.shape[:-2]))
    info = _failing_minors(np.swapaxes(A.array, -1, -2).conj() if upper else A.array)
    return CholeskyExResult(where_good(info, A, lambda x: cholesky(x, upper=upper)), Tensor(info))


def _failing_minors(a: Array) -> Array:
    info = np.zeros(a.shape[:-2], np.int32)
    failing = ~_have_factors(a)
    if failing.size > 1 and failing.all():  # one that has none says so for all
        for index in np.ndindex(info.shape):
            failing[index] = not _have_factors(a[index])
    for index in map(tuple, np.argwhere(failing)):
        minors = range(1, a.shape[-1] + 1)
        info[index] = next(k for k in minors if not _have_factors(a[index][:k, :k]))
    return info


def _have_factors(a: Array) -> Any:
    """Return of each matrix whether Cholesky's factor has numbers; of none if one has no factor."""
    try:
        factors = np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return np.zeros(a.shape[:-2], np.bool_)
    # NaN in, NaN out: NumPy does not say so.
    return np.asarray(~np.isnan(np.diagonal(factors, axis1=-2, axis2=-1)).any(axis=-1))


def where_good(info: Array, A: Tensor, function: Any) -> Tensor:
    """``function`` of the matrices with ``info`` 0, NaN for the others."""
    if not info.any():
        found: Tensor = function(A)
        return found
    bad = info[..., None, None] != 0
    unit = np.eye(A.shape[-1], dtype=A.dtype)
    return as_tensor(np.where(bad, np.asarray(np.nan, A.dtype), function(np.where(bad, unit, A))))


def _zeros(shape: tuple[int, ...]) -> Tensor:
    return Tensor(np.zeros(shape, np.int32))


# -- eigenvalues and singular values --------------------------------------------------------------


@with_out
def eig(A: TensorLike) -> EigResult:
    """Eigenvalues and eigenvectors (columns), complex; gradients need distinct eigenvalues."""
    return EigResult(*ops.eig(matrices(A, "eig", square=True)))


@with_out
def eigvals(A: TensorLike) -> Tensor:
    """The eigenvalues of ``eig``, complex."""
    return eig(A).eigenvalues


@with_out
def eigh(A: TensorLike, UPLO: Literal["L", "U"] = "L") -> EighResult:
    """Eigenvalues, ascending, and eigenvectors of a Hermitian A, whose triangle UPLO is read."""
    return EighResult(*ops.eigh(matrices(A, "eigh", square=True), UPLO=UPLO))


@with_out
def eigvalsh(A: TensorLike, UPLO: Literal["L", "U"] = "L") -> Tensor:
    """The eigenvalues of ``eigh``."""
    return eigh(A, UPLO).eigenvalues


@with_out
def svd(A: TensorLike, full_matrices: bool = True, *, driver: str | None = None) -> SVDResult:
    """U, S, Vh with A = U diag(S) Vh; the vectors that ``full_matrices`` adds have no gradient."""
    no_driver("svd", driver)
    A = matrices(A, "svd")
    full = full_matrices and A.shape[-1] != A.shape[-2]
    return SVDResult(*ops.svd(A, full_matrices=full))


@with_out
def svdvals(A: TensorLike, *, driver: str | None = None) -> Tensor:
    """The singular values, descending."""
    no_driver("svdvals", driver)
    return as_tensor(np.linalg.svd(matrices(A, "svdvals"), compute_uv=False))


def no_driver(name: str, driver: str | None) -> None:
    """Refuse to choose among GPU libraries. Errors: ShapeError."""
    if driver is not None:
        raise ShapeError(f"{name}: driver={driver!r} chooses among GPU libraries; leave it out")


# -- QR -------------------------------------------------------------------------------------------


@with_out
def qr(A: TensorLike, mode: str = "reduced") -> QRResult:
    """Q, R with A = Q R; "reduced", "complete" (no gradient if m > n) or "r" (Q is empty)."""
    A = matrices(A, "qr")
    if mode == "r":
        return QRResult(Tensor(fixed(np.zeros(0, A.dtype))), numpys_qr(A, "r"))
    if mode not in ("reduced", "complete"):
        raise ShapeError(f"qr: the modes are 'reduced', 'complete' and 'r'; got {mode!r}")
    return QRResult(*numpys_qr(A, mode))


@with_out
def householder_product(A: TensorLike, tau: TensorLike) -> Tensor:
    """The first n columns of H₀ H₁ … of the reflections in A (m, n) and tau (k), as geqrf's."""
    A, tau = matrices(A, "householder_product"), as_tensor(tau)
    m, n = A.shape[-2:]
    k = tau.shape[-1] if tau.ndim else -1
    if m < n or not 0 <= k <= n or tau.shape[:-1] != A.shape[:-2]:
        raise ShapeError(
            f"householder_product takes A (…, m, n), m ≥ n, and tau (…, k), k ≤ n; got {A.shape} "
            f"and {tau.shape}"
        )
    unit = fixed(np.broadcast_to(np.eye(m, n, dtype=A.dtype), A.shape).copy())
    return as_tensor(reflected(A, tau, unit))


# -- LU -------------------------------------------------------------------------------------------


@with_out
def lu_factor(A: TensorLike, *, pivot: bool = True) -> LUFactorResult:
    """L and U of P A = L U in one matrix, and the pivots. Errors: ShapeError for a singular A."""
    factors = lu_factor_ex(A, pivot=pivot, check_errors=True)
    return LUFactorResult(factors.LU, factors.pivots)


@with_out
def lu_factor_ex(
    A: TensorLike, *, pivot: bool = True, check_errors: bool = False
) -> LUFactorExResult:
    """``lu_factor`` that does not raise; its gradient needs regular matrices."""
    _only_pivoted(pivot)
    y, pivots = ops.lu_factor(matrices(A, "lu_factor"))
    info = _first_zero(y, check_errors)
    return LUFactorExResult(as_tensor(y), _from_1(pivots), info)


@apart
@keeps_form
def _first_zero(y: Array | Tensor, check_errors: bool) -> Tensor:
    """The place of the first zero on each diagonal, from 1 on; 0 where there is none."""
    zero = np.diagonal(data_of(y), 0, -2, -1) == 0
    info = np.where(zero.any(-1), zero.argmax(-1) + 1, 0) if zero.shape[-1] else np.zeros(())
    info = np.broadcast_to(info, y.shape[:-2]).astype(np.int32)
    if check_errors and info.any():
        raise ShapeError(f"lu_factor: a pivot is zero, the matrix is singular (info {info})")
    return Tensor(info)


@apart
@keeps_form
def _from_1(pivots: Array | Tensor) -> Tensor:
    return Tensor((data_of(pivots) + 1).astype(np.int32))


def _only_pivoted(pivot: bool) -> None:
    if not pivot:
        raise ShapeError("lu: pivot=False is not stable, and on CPUs neither here nor in PyTorch")


@with_out
def lu(A: TensorLike, *, pivot: bool = True) -> LUResult:
    """P, L, U with A = P L U."""
    _only_pivoted(pivot)
    y, pivots = ops.lu_factor(matrices(A, "lu"))
    return LUResult(permutation(pivots, count_of(y, -2), y.dtype), *ops.lu_unpack(y))


@apart
@keeps_form
def permutation(pivots: Array | Tensor, rows: int, dtype: Any) -> Tensor:
    """P (…, m, m) of pivots counted from 0 on."""
    order = _row_order(data_of(pivots), rows)
    count = math.prod(order.shape[:-1])
    P = np.zeros((count, rows, rows), dtype)
    # Column j is 1 in row order[j].
    P[np.arange(count)[:, None], order.reshape(count, rows), np.arange(rows)] = 1
    return Tensor(P.reshape(*order.shape, rows))


def _row_order(pivots: Array, rows: int) -> Array:
    twin = kernels.twin("row_order") if pivots.size else None
    return permutation_of(pivots, rows) if twin is None else twin(pivots, rows)


@with_out
def lu_solve(
    LU: TensorLike,
    pivots: TensorLike,
    B: TensorLike,
    *,
    left: bool = True,
    adjoint: bool = False,
) -> Tensor:
    """The X with A X = B (X A = B if not ``left``; Aᴴ for A if ``adjoint``), of lu_factor's A."""
    LU, B = matrices(LU, "lu_solve", square=True), matrices(B, "lu_solve")
    if B.shape[-2 if left else -1] != LU.shape[-1]:
        raise ShapeError(f"lu_solve: B of shape {B.shape} does not fit LU of shape {LU.shape}")
    if not left:  # X A = B is Aᴴ Xᴴ = Bᴴ
        return as_tensor(H(lu_solve(LU, pivots, H(B), adjoint=not adjoint)))
    B = as_many(B, LU)
    triangle = ops.solve_triangular
    if adjoint:
        y = triangle(H(LU), B, lower=True)
        y = triangle(H(LU), y, lower=False, unit_diagonal=True)
        return as_tensor(np.take_along_axis(y, _order(pivots, LU, y.shape, back=True), -2))
    B = as_tensor(np.take_along_axis(B, _order(pivots, LU, B.shape, back=False), -2))
    y = triangle(LU, B, lower=True, unit_diagonal=True)
    return as_tensor(triangle(LU, y, lower=False))


@apart
@keeps_form
def _order(pivots: TensorLike, LU: Tensor, shape: Shape, *, back: bool) -> Array:
    """The order that ``pivots`` bring the rows of ``shape`` in (``back``: that they came from).

    Errors: ShapeError for what lu_factor cannot have given.
    """
    given = np.asarray(constant(pivots, "lu_solve", "pivots"))
    n = LU.shape[-1]
    if given.dtype.kind not in "iu" or given.shape != LU.shape[:-1]:
        raise ShapeError(f"lu_solve: pivots {given.dtype} {given.shape} do not fit LU {LU.shape}")
    if given.size and not (given.min() >= 1 and given.max() <= n):
        raise ShapeError(f"lu_solve: pivots are rows from 1 to {n}, as lu_factor gives them")
    order = _row_order(given.astype(np.int64) - 1, n)
    order = np.argsort(order, -1) if back else order
    return np.broadcast_to(order, (*shape[:-2], n))[..., None]
