"""Linear systems by the names, orders of arguments and results of ``torch.linalg``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Ints
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.functions.factors import as_many, lu_factor_ex, matrices, plain, where_good
from distgrad.functions.out import with_out
from distgrad.ops.indexing import as_tensor
from distgrad.ops.linalg import H

__all__ = [
    "inv",
    "inv_ex",
    "lstsq",
    "solve",
    "solve_ex",
    "solve_triangular",
    "tensorinv",
    "tensorsolve",
]


class InvExResult(NamedTuple):
    """What ``inv_ex`` returns."""

    inverse: Tensor
    info: Tensor


class SolveExResult(NamedTuple):
    """What ``solve_ex`` returns."""

    result: Tensor
    info: Tensor


class LstsqResult(NamedTuple):
    """What ``lstsq`` returns."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


@with_out
def solve(A: TensorLike, B: TensorLike, *, left: bool = True) -> Tensor:
    """The X with A X = B (X A = B if not ``left``); B is vectors where it has A's shape less one
    axis. Errors: ShapeError for a singular A.
    """
    A, B = matrices(A, "solve", square=True), as_tensor(B)
    if vectors(A, B):
        if not left:
            raise ShapeError("solve: left=False takes matrices B, not vectors")
        return as_tensor(np.squeeze(np.linalg.solve(A, np.expand_dims(B, -1)), -1))
    if B.ndim < 2:
        raise ShapeError(f"solve: B of shape {B.shape} does not fit A of shape {A.shape}")
    x = np.linalg.solve(A, B) if left else H(np.linalg.solve(H(A), H(B)))
    return as_tensor(x)


def vectors(A: Tensor, B: Tensor) -> bool:
    """Whether B holds a vector for each matrix of A (PyTorch's rule)."""
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1])


@with_out
@whole
@keeps_form
def solve_ex(
    A: TensorLike, B: TensorLike, *, left: bool = True, check_errors: bool = False
) -> SolveExResult:
    """``solve`` that does not raise: NaN where ``info`` is not 0 (the first zero pivot)."""
    A = matrices(A, "solve_ex", square=True)
    info = _info(A, check_errors)
    return SolveExResult(where_good(info, A, lambda a: solve(a, B, left=left)), Tensor(info))


@with_out
def inv(A: TensorLike) -> Tensor:
    """The inverse. Errors: ShapeError naming the first singular matrix."""
    return as_tensor(np.linalg.inv(matrices(A, "inv", square=True)))


@with_out
@whole
@keeps_form
def inv_ex(A: TensorLike, *, check_errors: bool = False) -> InvExResult:
    """``inv`` that does not raise: NaN where ``info`` is not 0 (the first zero pivot)."""
    A = matrices(A, "inv_ex", square=True)
    info = _info(A, check_errors)
    return InvExResult(where_good(info, A, inv), Tensor(info))


def _info(A: Tensor, check_errors: bool) -> Array:
    info: Array = lu_factor_ex(A.array, check_errors=check_errors).info.array
    return info


@with_out
def solve_triangular(
    A: TensorLike,
    B: TensorLike,
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> Tensor:
    """The X with A X = B (X A = B if not ``left``), reading one triangle of A."""
    A, B = matrices(A, "solve_triangular", square=True), matrices(B, "solve_triangular")
    if not left:
        return as_tensor(
            H(solve_triangular(H(A), H(B), upper=not upper, unitriangular=unitriangular))
        )
    B = as_many(B, A)
    return as_tensor(ops.solve_triangular(A, B, lower=not upper, unit_diagonal=unitriangular))


@with_out
@whole
def lstsq(
    A: TensorLike, B: TensorLike, rcond: float | None = None, *, driver: str | None = None
) -> LstsqResult:
    """The X of least ‖A X - B‖ through A's singular values, whatever the ``driver`` (its rules for
    ``rank`` and ``singular_values`` hold); X and the residuals have gradients if A has full rank.
    """
    A, B = matrices(A, "lstsq"), as_tensor(B)
    drivers = ("gels", "gelsy", "gelsd", "gelss")
    driver = "gelsy" if driver is None else driver
    if driver not in drivers:
        raise ShapeError(f"lstsq: the drivers are {', '.join(drivers)}; got {driver!r}")
    flat = vectors(A, B)
    rows = B.shape[-1] if flat else B.shape[-2] if B.ndim > 1 else -1
    m, n = A.shape[-2:]
    if rows != m:
        raise ShapeError(f"lstsq expects '… m n, … m k'; got {A.shape} and {B.shape}")
    s = plain("lstsq", np.linalg.svd, A.array, compute_uv=False)
    cut = float(np.finfo(s.dtype).eps) * max(m, n) if rcond is None else rcond
    rank = np.sum(s > cut * s.max(axis=-1, keepdims=True, initial=0.0), axis=-1)
    p = ops.pinv(A, rcond=0.0 if driver == "gels" else cut)
    columns = np.expand_dims(B, -1) if flat else B
    x: Any = np.matmul(p, columns)
    residuals: Any = np.zeros(0, s.dtype)
    if m > n and (driver == "gels" or bool((rank == n).all())) and driver != "gelsy":
        residuals = np.sum(np.abs(np.matmul(A, x) - columns) ** 2, axis=-2)
    nothing = Tensor(np.zeros(0, np.int64))
    return LstsqResult(
        as_tensor(np.squeeze(x, -1) if flat else x),
        as_tensor(residuals),
        nothing if driver == "gels" else Tensor(np.asarray(rank, np.int64)),
        Tensor(s) if driver in ("gelsd", "gelss") else Tensor(np.zeros(0, s.dtype)),
    )


@with_out
def tensorinv(A: TensorLike, ind: int = 2) -> Tensor:
    """The inverse of A for tensordot over ``ind`` axes."""
    return as_tensor(np.linalg.tensorinv(as_tensor(A), ind))


@with_out
def tensorsolve(A: TensorLike, B: TensorLike, dims: Ints | None = None) -> Tensor:
    """The X with tensordot(A, X, X.ndim) = B; ``dims`` of A are moved to its end first."""
    A, B = as_tensor(A), as_tensor(B)
    return as_tensor(np.linalg.tensorsolve(A, B, dims))  # type: ignore[arg-type]
