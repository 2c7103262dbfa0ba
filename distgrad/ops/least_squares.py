"""Least squares, ranks and conditions, and systems of more axes than two."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import dispatch
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Ints
from distgrad.errors import ShapeError
from distgrad.ops.decompose import from_lower
from distgrad.ops.helpers import data_of, either_fused
from distgrad.ops.linalg import arrays
from distgrad.ops.matrix_norms import Order, norm
from distgrad.ops.solve import pinv


@dispatch(np.linalg.lstsq)
def lstsq(a: TensorLike, b: TensorLike, rcond: float | None = None) -> tuple[Any, Any, int, Tensor]:
    """``np.linalg.lstsq``: the x of least ‖a x - b‖, its squared residuals, a's rank and S.

    x and the residuals have gradients (the rank must not change). Errors: ShapeError.
    """
    a, b = arrays(a, b)
    if a.ndim != 2 or b.ndim not in (1, 2) or a.shape[0] != b.shape[0]:
        raise ShapeError(f"lstsq expects 'm n, m k -> n k'; got {a.shape}, {b.shape}")
    m, n = a.shape
    s = np.linalg.svd(data_of(a), compute_uv=False)
    if rcond is None:
        rcond = float(np.finfo(s.dtype).eps) * max(m, n)
    elif rcond < 0:
        rcond = float(np.finfo(s.dtype).eps)
    rank = int(np.sum(s > rcond * s.max(initial=0.0)))
    x = np.matmul(np.linalg.pinv(a, rcond), b)
    residuals: Any = np.zeros(0, s.dtype)
    if m > n and rank == n:
        residuals = np.sum(np.abs(np.matmul(a, x) - b) ** 2, axis=0, keepdims=b.ndim == 1)
    return x, residuals, rank, Tensor(s)


@dispatch(np.linalg.pinv, of=pinv)
def _pinv(a: TensorLike, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    if rcond is not None and rtol is not None:
        raise ShapeError("pinv takes rcond= or rtol=, two names of one setting, not both")
    (matrix,) = arrays(a)
    cut = data_of(rtol if rcond is None else rcond)
    if hermitian:
        return either_fused(pinv, either_fused(from_lower, matrix), rcond=cut)
    return either_fused(pinv, matrix, rcond=cut)


@dispatch(np.linalg.matrix_rank)
def matrix_rank(
    A: TensorLike, tol: Any = None, hermitian: bool = False, *, rtol: Any = None
) -> Any:
    """``np.linalg.matrix_rank``: how many singular values exceed the tolerance; no gradient."""
    return np.linalg.matrix_rank(data_of(A), data_of(tol), hermitian, rtol=data_of(rtol))


@dispatch(np.linalg.cond)
def cond(x: TensorLike, p: Order | None = None) -> Any:
    """``np.linalg.cond``: ‖x‖ ‖x⁻¹‖, for ±2 and None the ratio of singular values."""
    (x,) = arrays(x)
    if p in (None, 2, -2):
        s = np.linalg.svd(x, compute_uv=False)
        largest, least = s[..., 0], s[..., -1]
        return least / largest if p == -2 else largest / least
    return norm(x, p, (-2, -1)) * norm(np.linalg.inv(x), p, (-2, -1))


@dispatch(np.linalg.tensorinv)
def tensorinv(a: TensorLike, ind: int = 2) -> Any:
    """``np.linalg.tensorinv``: the inverse for tensordot over ``ind`` axes. Errors: ShapeError."""
    (a,) = arrays(a)
    if ind <= 0:
        raise ShapeError(f"tensorinv needs ind ≥ 1 axes of rows; got {ind}")
    rows, columns = a.shape[:ind], a.shape[ind:]
    if math.prod(rows) != math.prod(columns):
        raise ShapeError(
            f"tensorinv: the first {ind} axes of shape {a.shape} hold {math.prod(rows)} elements, "
            f"the others {math.prod(columns)}; they must be as many"
        )
    square = np.reshape(a, (math.prod(rows), -1)) if a.size else np.reshape(a, (0, 0))
    return np.reshape(np.linalg.inv(square), (*columns, *rows))


@dispatch(np.linalg.tensorsolve)
def tensorsolve(a: TensorLike, b: TensorLike, axes: Ints | None = None) -> Any:
    """``np.linalg.tensorsolve``: the x with tensordot(a, x, x.ndim) = b; ``axes`` of a go last."""
    a, b = arrays(a, b)
    if axes is not None:
        last = [i % a.ndim for i in ([axes] if isinstance(axes, int) else axes)]
        a = np.transpose(a, [*(i for i in range(a.ndim) if i not in last), *last])
    unknown = a.shape[b.ndim :]
    if a.ndim <= b.ndim or math.prod(unknown) != b.size or a.size != b.size**2:
        raise ShapeError(
            f"tensorsolve: a of shape {a.shape} needs as many elements in its first {b.ndim} axes "
            f"as in the others, and b as many; it has shape {b.shape}"
        )
    x = np.linalg.solve(np.reshape(a, (b.size, b.size)), np.reshape(b, (-1,)))
    return np.reshape(x, unknown)
