"""Factors, distances and statistics by PyTorch's names outside ``torch.linalg``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.op import constant
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.functions import linalg
from distgrad.functions.factors import matrices, permutation, plain
from distgrad.functions.out import with_out
from distgrad.functions.promotion import alike, real, real_alone
from distgrad.ops.decompose import QRResult, numpys_qr
from distgrad.ops.indexing import as_tensor
from distgrad.ops.linalg import H
from distgrad.ops.lu_factors import reflected
from distgrad.ops.numpy2 import vector_norm
from distgrad.ops.solve import SlogdetResult
from distgrad.ops.statistics import correlations, covariance

__all__ = [
    "cdist",
    "cholesky",
    "cholesky_inverse",
    "cholesky_solve",
    "corrcoef",
    "cov",
    "det",
    "dist",
    "frobenius_norm",
    "geqrf",
    "inverse",
    "logdet",
    "lu",
    "lu_solve",
    "lu_unpack",
    "matrix_exp",
    "nuclear_norm",
    "orgqr",
    "ormqr",
    "pca_lowrank",
    "pdist",
    "pinverse",
    "qr",
    "renorm",
    "slogdet",
    "svd",
    "svd_lowrank",
    "triangular_solve",
]

IN_PLACE = ["renorm"]


class GeqrfResult(NamedTuple):
    """What ``geqrf`` returns: R above the diagonal, reflections below it, and their factors."""

    a: Tensor
    tau: Tensor


class SVDResult(NamedTuple):
    """What ``svd`` returns: input = U diag(S) Vᴴ."""

    U: Tensor
    S: Tensor
    V: Tensor


class TriangularSolveResult(NamedTuple):
    """What ``triangular_solve`` returns."""

    solution: Tensor
    cloned_coefficient: Tensor


class LUUnpackResult(NamedTuple):
    """What ``lu_unpack`` returns; what was not asked for is empty."""

    P: Tensor
    L: Tensor
    U: Tensor


# -- determinants and inverses --------------------------------------------------------------------


def det(input: TensorLike) -> Tensor:
    """The determinant."""
    return linalg.det(input)


def slogdet(input: TensorLike) -> SlogdetResult:
    """The sign (of complex matrices the phase) and the logarithm of |det|."""
    return linalg.slogdet(input)


def logdet(input: TensorLike) -> Tensor:
    """log det; NaN where the determinant is negative, -inf where it is zero."""
    sign, logabsdet = linalg.slogdet(input)
    if sign.dtype.kind == "c":
        return as_tensor(np.log(sign) + logabsdet)
    return as_tensor(np.where(sign < 0, np.asarray(np.nan, sign.dtype), logabsdet))


@with_out
def inverse(input: TensorLike) -> Tensor:
    """The inverse. Errors: ShapeError naming the first singular matrix."""
    return linalg.inv(input)


def pinverse(input: TensorLike, rcond: TensorLike = 1e-15) -> Tensor:
    """The Moore–Penrose inverse; singular values up to rcond σ₁ count as zero."""
    return linalg.pinv(input, rcond)


def matrix_exp(input: TensorLike) -> Tensor:
    """Σ Aᵏ / k!."""
    return linalg.matrix_exp(input)


# -- Cholesky, triangles --------------------------------------------------------------------------


@with_out
def cholesky(input: TensorLike, upper: bool = False) -> Tensor:
    """``linalg.cholesky`` by its older name."""
    return linalg.cholesky(input, upper=upper)


@with_out
def cholesky_solve(input: TensorLike, input2: TensorLike, upper: bool = False) -> Tensor:
    """The X with L Lᴴ X = B (Lᴴ L X = B if ``upper``); ``input`` is B, ``input2`` is L."""
    B, L = matrices(input, "cholesky_solve"), matrices(input2, "cholesky_solve", square=True)
    first, second = (H(L), L) if upper else (L, H(L))
    y = linalg.solve_triangular(first, B, upper=False)
    return linalg.solve_triangular(second, y, upper=True)


@with_out
def cholesky_inverse(input: TensorLike, upper: bool = False) -> Tensor:
    """The inverse of L Lᴴ (of Lᴴ L if ``upper``); ``input`` is L."""
    L = matrices(input, "cholesky_inverse", square=True)
    unit = np.broadcast_to(np.eye(L.shape[-1], dtype=L.dtype), L.shape)
    return cholesky_solve(fixed(unit.copy()), L, upper)


@with_out
def triangular_solve(
    input: TensorLike,
    A: TensorLike,
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> TriangularSolveResult:
    """The X with A X = input (Aᵀ X = input if ``transpose``), and A."""
    A = matrices(A, "triangular_solve", square=True)
    a = as_tensor(np.swapaxes(A, -1, -2)) if transpose else A
    x = linalg.solve_triangular(a, input, upper=upper != transpose, unitriangular=unitriangular)
    front = x.shape[:-2]
    return TriangularSolveResult(x, as_tensor(np.broadcast_to(A, (*front, *A.shape[-2:]))))


# -- QR, LU, singular values ----------------------------------------------------------------------


@with_out
def qr(input: TensorLike, some: bool = True) -> QRResult:
    """``linalg.qr``, reduced if ``some``, else complete."""
    return linalg.qr(input, "reduced" if some else "complete")


@with_out
@apart
@keeps_form
def geqrf(input: TensorLike) -> GeqrfResult:
    """LAPACK's QR: R and Householder's reflections in one matrix; no gradient, as in PyTorch."""
    a = constant(matrices(input, "geqrf"), "geqrf", "input")
    h, tau = plain("geqrf", lambda x: numpys_qr(x, "raw"), a)
    return GeqrfResult(as_tensor(np.swapaxes(h.array, -1, -2)), tau)


@with_out
def orgqr(input: TensorLike, tau: TensorLike) -> Tensor:
    """``linalg.householder_product`` by LAPACK's name."""
    return linalg.householder_product(input, tau)


@with_out
def ormqr(
    input: TensorLike,
    tau: TensorLike,
    other: TensorLike,
    left: bool = True,
    transpose: bool = False,
) -> Tensor:
    """Q other (other Q if not ``left``; Qᴴ for Q if ``transpose``), Q of geqrf's reflections."""
    h, factors, x = matrices(input, "ormqr"), as_tensor(tau), matrices(other, "ormqr")
    if x.shape[-2 if left else -1] != h.shape[-2]:
        raise ShapeError(f"ormqr: other of shape {x.shape} does not fit input of {h.shape}")
    if factors.shape != (*h.shape[:-2], min(h.shape[-2:])):
        raise ShapeError(f"ormqr: tau of shape {factors.shape} does not fit input of {h.shape}")
    if left:
        return as_tensor(reflected(h, factors, x, adjoint=transpose))
    return as_tensor(H(reflected(h, factors, H(x), adjoint=not transpose)))


@with_out
def lu(A: TensorLike, pivot: bool = True, get_infos: bool = False) -> tuple[Tensor, ...]:
    """``linalg.lu_factor_ex``: (LU, pivots), and infos if asked for."""
    found = linalg.lu_factor_ex(A, pivot=pivot)
    return tuple(found) if get_infos else tuple(found[:2])


@with_out
def lu_solve(input: TensorLike, LU_data: TensorLike, LU_pivots: TensorLike) -> Tensor:
    """The x with A x = input, of lu's A."""
    return linalg.lu_solve(LU_data, LU_pivots, input)


@with_out
def lu_unpack(
    LU_data: TensorLike,
    LU_pivots: TensorLike,
    unpack_data: bool = True,
    unpack_pivots: bool = True,
) -> LUUnpackResult:
    """P, L, U of what ``lu_factor`` returned; empty where not asked for."""
    y = matrices(LU_data, "lu_unpack")

    def nothing() -> Tensor:
        return Tensor(fixed(np.zeros(0, y.dtype)))

    P = _permutation(LU_pivots, y) if unpack_pivots else nothing()
    return LUUnpackResult(P, *(ops.lu_unpack(y) if unpack_data else (nothing(), nothing())))


@apart
@keeps_form
def _permutation(pivots: TensorLike, y: Tensor) -> Tensor:
    swaps = np.asarray(constant(pivots, "lu_unpack", "LU_pivots"))
    if swaps.dtype.kind not in "iu" or swaps.shape[-1:] != (min(y.shape[-2:]),):
        raise ShapeError(f"lu_unpack: pivots {swaps.dtype} {swaps.shape} of LU {y.shape}")
    return permutation(swaps.astype(np.int64) - 1, y.shape[-2], y.dtype)


@with_out
def svd(input: TensorLike, some: bool = True, compute_uv: bool = True) -> SVDResult:
    """U, S, V with input = U diag(S) Vᴴ; ``some``: reduced. Without vectors these are zeros."""
    A = matrices(input, "svd")
    if not compute_uv:
        m, n = A.shape[-2:]
        zeros = [Tensor(fixed(np.zeros((*A.shape[:-2], k, k), A.dtype))) for k in (m, n)]
        return SVDResult(zeros[0], linalg.svdvals(A), zeros[1])
    U, S, Vh = linalg.svd(A, full_matrices=not some)
    return SVDResult(U, S, as_tensor(H(Vh)))


def svd_lowrank(
    A: TensorLike, q: int | None = 6, niter: int = 2, M: TensorLike | None = None
) -> SVDResult:
    """The q largest singular values of A - M and their vectors; exact, so ``niter`` is not used."""
    x = matrices(A, "svd_lowrank")
    x = x if M is None else as_tensor(x - M)
    k = min(x.shape[-2:])
    q = min(6, k) if q is None else q
    if not 0 <= q <= k:
        raise ShapeError(f"svd_lowrank: q={q} is not in 0..{k}, the smaller side of {x.shape}")
    U, S, V = svd(x)
    return SVDResult(U[..., :q], S[..., :q], V[..., :q])


def pca_lowrank(
    A: TensorLike, q: int | None = None, center: bool = True, niter: int = 2
) -> SVDResult:
    """``svd_lowrank`` of A less the mean of its rows (if ``center``)."""
    x = matrices(A, "pca_lowrank")
    mean = x.mean(axis=-2, keepdims=True) if center else None
    k = min(x.shape[-2:])
    return svd_lowrank(x, min(6, k) if q is None else q, niter, mean)


# -- norms, distances, statistics -----------------------------------------------------------------


@with_out
def frobenius_norm(input: TensorLike, dim: Any = None, keepdim: bool = False) -> Tensor:
    """√Σ |x|² over two axes, or all."""
    return linalg.vector_norm(input, 2, dim, keepdim)


@with_out
def nuclear_norm(input: TensorLike, dim: Any = (-2, -1), keepdim: bool = False) -> Tensor:
    """The sum of the singular values of the matrices in two axes."""
    return linalg.matrix_norm(input, "nuc", dim, keepdim)


def dist(input: TensorLike, other: TensorLike, p: float = 2) -> Tensor:
    """The p-norm of input - other, all elements as one vector."""
    return linalg.vector_norm(as_tensor(as_tensor(input) - other), p)


def cdist(
    x1: TensorLike,
    x2: TensorLike,
    p: float = 2.0,
    compute_mode: str = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:
    """The p-norms (…, m, n) of the differences of all rows of x1 (…, m, d) and x2 (…, n, d).

    For p = 2 and long rows ``compute_mode`` may take a matrix product, which is faster and less
    exact for rows that are close: by its default for more than 25 rows of more than 32 numbers. The
    gradient of equal rows is 0. Errors: ShapeError; DistgradError for complex numbers.
    """
    a, b = alike([matrices(x1, "cdist"), matrices(x2, "cdist")])
    _check_p(p, "cdist")
    if a.shape[-1] != b.shape[-1]:
        raise ShapeError(f"cdist takes rows of one length; got {a.shape} and {b.shape}")
    if compute_mode not in _PRODUCTS:
        raise ShapeError(f"cdist: compute_mode={compute_mode!r} is none of PyTorch's")
    rows, length = _PRODUCTS[compute_mode]
    product = p == 2 and max(a.shape[-2], b.shape[-2]) > rows and a.shape[-1] > length
    return as_tensor(
        ops.distances(real_alone(a, "cdist"), real_alone(b, "cdist"), p=p, product=product)
    )


_PRODUCTS: dict[str, tuple[float, float]] = {
    "use_mm_for_euclid_dist_if_necessary": (25, 32),  # shorter ones are as fast without
    "use_mm_for_euclid_dist": (-1, -1),
    "donot_use_mm_for_euclid_dist": (np.inf, np.inf),
}
"""Above how many rows, and numbers in each, there is a product."""


def pdist(input: TensorLike, p: float = 2) -> Tensor:
    """The p-norms of the differences of all pairs of rows (i before j) of a matrix.

    Errors: ShapeError; DistgradError for complex numbers.
    """
    x = as_tensor(input)
    _check_p(p, "pdist")
    if x.ndim != 2:
        raise ShapeError(f"pdist takes a matrix of rows; got shape {x.shape}")
    return as_tensor(ops.pair_distances(real_alone(x, "pdist"), p=p))


def _check_p(p: float, name: str) -> None:
    if not p >= 0:
        raise ShapeError(f"{name}: p is a number ≥ 0 or inf; got {p}")


@with_out
def renorm(input: TensorLike, p: float, dim: int, maxnorm: float) -> Tensor:
    """Each slice along ``dim``, scaled down to the p-norm ``maxnorm`` where that is exceeded."""
    x = as_tensor(input)
    if x.ndim < 2 or not p > 0 or maxnorm < 0 or not -x.ndim <= dim < x.ndim:
        raise ShapeError(
            f"renorm takes 2 axes or more, p > 0, maxnorm ≥ 0; got shape {x.shape}, p={p}, "
            f"dim={dim}, maxnorm={maxnorm}"
        )
    others = tuple(i for i in range(x.ndim) if i != dim % x.ndim)
    norms = vector_norm(x, axis=others, keepdims=True, ord=p)
    above = norms > maxnorm
    scale = np.where(above, maxnorm / (np.where(above, norms, 1) + 1e-7), 1)
    return as_tensor(x * scale.astype(norms.dtype))


def cov(
    input: TensorLike,
    *,
    correction: int = 1,
    fweights: TensorLike | None = None,
    aweights: TensorLike | None = None,
) -> Tensor:
    """The covariances of variables, a row of observations each, over n - ``correction``."""
    x = as_tensor(input)
    if x.ndim > 2:
        raise ShapeError(f"cov takes one variable or a matrix of them; got shape {x.shape}")
    x = real(x)
    c = covariance(np.atleast_2d(x), correction, fweights, aweights)
    return as_tensor(np.reshape(c, ()) if c.shape == (1, 1) else c).astype(x.dtype)


def corrcoef(input: TensorLike) -> Tensor:
    """Covariances over the products of standard deviations."""
    return as_tensor(correlations(cov(input)))
