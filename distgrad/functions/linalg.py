"""``torch.linalg`` by its names, orders of arguments and named results; factors are in factors.py,
systems in systems.py.

Vectors or matrices lie in the last axes, those before are a stack; all are differentiable, to any
order, unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, count_of, keeps_form
from distgrad.autograd.op import constant
from distgrad.autograd.promotion import operands
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike
from distgrad.errors import ShapeError
from distgrad.functions.arguments import one_axis
from distgrad.functions.factors import (
    cholesky,
    cholesky_ex,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    householder_product,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_solve,
    matrices,
    plain,
    qr,
    svd,
    svdvals,
)
from distgrad.functions.out import with_out
from distgrad.functions.shapes import broadcast_tensors
from distgrad.functions.systems import (
    inv,
    inv_ex,
    lstsq,
    solve,
    solve_ex,
    solve_triangular,
    tensorinv,
    tensorsolve,
)
from distgrad.ops.indexing import as_tensor
from distgrad.ops.linalg import cross as numpys_cross
from distgrad.ops.matrix_norms import Order
from distgrad.ops.matrix_norms import norm as numpys_norm
from distgrad.ops.numpy2 import vector_norm as numpys_vector_norm
from distgrad.ops.solve import SlogdetResult

__all__ = [
    "LinAlgError",
    "cholesky",
    "cholesky_ex",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "householder_product",
    "inv",
    "inv_ex",
    "lstsq",
    "lu",
    "lu_factor",
    "lu_factor_ex",
    "lu_solve",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_ex",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensorinv",
    "tensorsolve",
    "vander",
    "vecdot",
    "vector_norm",
]

LinAlgError = ShapeError
"""What a singular or not positive definite matrix raises, under PyTorch's name."""

# -- numbers of a matrix --------------------------------------------------------------------------


@with_out
def det(A: TensorLike) -> Tensor:
    """The determinant."""
    return as_tensor(np.linalg.det(matrices(A, "det", square=True)))


@with_out
def slogdet(A: TensorLike) -> SlogdetResult:
    """The sign (of complex matrices the phase) and the logarithm of |det A|."""
    found: Any = np.linalg.slogdet(matrices(A, "slogdet", square=True))
    return SlogdetResult(*found)


@with_out
def cond(A: TensorLike, p: Order | None = None) -> Tensor:
    """‖A‖ ‖A⁻¹‖ in the matrix norm ``p``; None and ±2: the ratio of singular values."""
    A = matrices(A, "cond", square=p not in (None, 2, -2))
    return as_tensor(np.linalg.cond(A, p))  # type: ignore[arg-type]


@with_out
@apart
@keeps_form
def matrix_rank(
    A: TensorLike,
    tol: TensorLike | None = None,
    *,
    atol: TensorLike | None = None,
    rtol: TensorLike | None = None,
    hermitian: bool = False,
) -> Tensor:
    """How many singular values exceed max(atol, rtol σ₁); no gradient."""
    a = matrices(A, "matrix_rank", square=hermitian).array
    if hermitian:
        s = np.abs(plain("matrix_rank", np.linalg.eigvalsh, a))
    else:
        s = plain("matrix_rank", np.linalg.svd, a, compute_uv=False)
    largest = s.max(axis=-1, initial=0.0)
    cut = tolerance(largest, a.shape[-2:], atol if tol is None else tol, rtol)
    return Tensor(np.asarray(np.sum(s > cut[..., None], axis=-1), np.int64))


def tolerance(largest: Array, shape: tuple[int, ...], atol: Any, rtol: Any) -> Array:
    """PyTorch's max(atol, rtol σ₁); rtol is eps max(m, n), but 0 beside a positive atol."""
    absolute = np.asarray(0.0 if atol is None else constant(atol, "matrix_rank", "atol"))
    if rtol is None:
        relative = np.where(absolute > 0, 0.0, np.finfo(largest.dtype).eps * max(shape))
    else:
        relative = np.asarray(constant(rtol, "matrix_rank", "rtol"))
    try:
        return np.asarray(np.maximum(absolute, relative * largest))
    except ValueError as error:
        raise ShapeError(
            f"tolerances of shape {absolute.shape} and {relative.shape} for {largest.shape} "
            f"matrices do not broadcast"
        ) from error


@with_out
def pinv(
    A: TensorLike,
    rcond: TensorLike | None = None,
    *,
    atol: TensorLike | None = None,
    rtol: TensorLike | None = None,
    hermitian: bool = False,
) -> Tensor:
    """The Moore–Penrose inverse; singular values up to max(atol, rtol σ₁) count as zero."""
    A = matrices(A, "pinv", square=hermitian)
    relative = _relative(A, atol, rtol if rcond is None else rcond)
    return as_tensor(np.linalg.pinv(A, relative, hermitian))


@apart
@keeps_form
def _relative(A: Tensor, atol: Any, rtol: Any) -> Array:
    """The tolerances of ``pinv`` as parts of the largest singular values."""
    if atol is None and isinstance(rtol, int | float):  # a part already
        return np.full(A.shape[:-2], rtol, A.array.real.dtype)
    s = plain("pinv", np.linalg.svd, A.array, compute_uv=False)
    largest = s.max(axis=-1, initial=0.0)
    cut = tolerance(largest, A.shape[-2:], atol, rtol)
    if cut.shape != largest.shape:
        raise ShapeError(
            f"pinv: the tolerances broadcast to {largest.shape}, one for each matrix; got "
            f"{cut.shape} for A of shape {A.shape}"
        )
    return np.asarray(cut / np.where(largest == 0, 1, largest))


# -- norms ----------------------------------------------------------------------------------------


@with_out
def norm(
    A: TensorLike,
    ord: Order | None = None,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """``np.linalg.norm``: of vectors along one ``dim``, matrices in two, all elements without."""
    x = _as(A, dtype)
    axis = tuple(dim) if isinstance(dim, list) else dim
    if axis is None and ord is None:
        return vector_norm(x, 2, None, keepdim)
    return as_tensor(numpys_norm(x, ord, axis, keepdim))


@with_out
def vector_norm(
    x: TensorLike,
    ord: float = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """(Σ |x| ** ord) ** (1 / ord) over ``dim``: one axis, several, or all elements (None)."""
    x = _as(x, dtype)
    axis = tuple(dim) if isinstance(dim, list) else dim
    axis = None if axis == () or (x.ndim == 0 and axis in (0, -1)) else axis
    return as_tensor(numpys_vector_norm(x, axis=axis, keepdims=keepdim, ord=ord))


@with_out
def matrix_norm(
    A: TensorLike,
    ord: Order = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: DTypeLike | None = None,
) -> Tensor:
    """The norm of the matrices in two axes: 'fro', 'nuc', ±inf, ±1 or ±2."""
    x = matrices(_as(A, dtype), "matrix_norm")
    return as_tensor(numpys_norm(x, ord, tuple(dim), keepdim))


def _as(x: TensorLike, dtype: DTypeLike | None) -> Tensor:
    x = as_tensor(x)
    return x if dtype is None or x.dtype == np.dtype(dtype) else x.astype(dtype)


# -- products and shapes --------------------------------------------------------------------------


@with_out
def matmul(input: TensorLike, other: TensorLike) -> Tensor:
    """The matrix product over the last two axes."""
    return as_tensor(np.matmul(*operands(as_tensor(input), as_tensor(other))))


@with_out
def multi_dot(tensors: Sequence[TensorLike]) -> Tensor:
    """A chain of matrices (vectors at its ends), multiplied in the cheapest order."""
    return as_tensor(ops.multi_dot([as_tensor(x) for x in tensors]))


@with_out
def matrix_power(A: TensorLike, n: int) -> Tensor:
    """A multiplied n times; the inverse's if n < 0."""
    return as_tensor(np.linalg.matrix_power(as_tensor(A), n))


def matrix_exp(A: TensorLike) -> Tensor:
    """Σ Aᵏ / k!."""
    return as_tensor(ops.matrix_exp(matrices(A, "matrix_exp", square=True)))


@with_out
def vecdot(x: TensorLike, y: TensorLike, *, dim: int = -1) -> Tensor:
    """Σ conj(x) y along ``dim``; x and y broadcast."""
    both: Any = _of_one_shape(x, y)
    return as_tensor(ops.vecdot(*both, axis=one_axis(dim, both[0].ndim, "vecdot")))


def _of_one_shape(x: TensorLike, y: TensorLike) -> Any:
    a, b = as_tensor(x), as_tensor(y)
    return (a, b) if a.shape == b.shape else broadcast_tensors(a, b)


@with_out
def cross(input: TensorLike, other: TensorLike, *, dim: int = -1) -> Tensor:
    """The vector product of vectors of length 3 along ``dim``; the other axes broadcast."""
    x, y = as_tensor(input), as_tensor(other)
    if x.ndim != y.ndim:
        raise ShapeError(f"cross takes as many axes on both sides; got {x.shape} and {y.shape}")
    axis = one_axis(dim, x.ndim, "cross")
    if x.shape[axis] != 3 or y.shape[axis] != 3:
        raise ShapeError(f"cross takes vectors of length 3; got {x.shape} and {y.shape}")
    return as_tensor(numpys_cross(*_of_one_shape(x, y), axis=axis))


def diagonal(A: TensorLike, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """A diagonal of two axes, as a new last axis."""
    return as_tensor(np.diagonal(as_tensor(A), offset, dim1, dim2))


def vander(x: TensorLike, *, N: int | None = None) -> Tensor:
    """The powers 0 to N - 1 of each element, in a new last axis (as many as x has, if None)."""
    x = as_tensor(x)
    if x.ndim == 0 and N is None:
        raise ShapeError("vander takes one axis or more; got a single number without N")
    x = x.astype(np.int64) if x.dtype.kind in "iu" and x.dtype != np.int64 else x
    row = x if x.ndim else x.reshape(1)
    count = count_of(row, -1) if N is None else N
    if count < 1:
        raise ShapeError(f"vander takes N ≥ 1 powers; got {count}")
    return as_tensor(ops.powers(row, count=count))
