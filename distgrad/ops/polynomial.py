"""NumPy's polynomials, as coefficients from the highest power on: composed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.apart import count_of
from distgrad.autograd.op import dispatch
from distgrad.autograd.tensor import TensorLike
from distgrad.ops.helpers import data_of
from distgrad.ops.linalg import array_of, arrays
from distgrad.ops.samples import convolve, np_convolve


@dispatch(np.polyval)
def polyval(p: TensorLike, x: TensorLike) -> Any:
    """``np.polyval``: Σ pᵢ xⁿ⁻¹⁻ⁱ, by Horner's rule."""
    p, x = arrays(p, x)
    y: Any = np.zeros_like(data_of(x))
    for i in range(p.shape[0]):
        y = y * x + p[i]
    return y


def _aligned(a: TensorLike, b: TensorLike) -> list[Any]:
    rows = [np.atleast_1d(x) for x in arrays(a, b)]
    n = max(len(r) for r in rows)
    return [r if len(r) == n else np.pad(r, (n - len(r), 0)) for r in rows]


@dispatch(np.polyadd)
def polyadd(a1: TensorLike, a2: TensorLike) -> Any:
    """``np.polyadd``: the coefficients of the sum."""
    a, b = _aligned(a1, a2)
    return a + b


@dispatch(np.polysub)
def polysub(a1: TensorLike, a2: TensorLike) -> Any:
    """``np.polysub``: the coefficients of the difference."""
    a, b = _aligned(a1, a2)
    return a - b


@dispatch(np.polymul)
def polymul(a1: TensorLike, a2: TensorLike) -> Any:
    """``np.polymul``: the coefficients of the product."""
    return np_convolve(a1, a2)


@dispatch(np.polyder)
def polyder(p: TensorLike, m: int = 1) -> Any:
    """``np.polyder``: the coefficients of the ``m``-th derivative."""
    row = array_of(p)
    for _ in range(m):
        row = row[:-1] * np.arange(len(row) - 1, 0, -1, dtype=row.dtype)
    return row


@dispatch(np.polyint)
def polyint(p: TensorLike, m: int = 1, k: Sequence[float] | float | None = None) -> Any:
    """``np.polyint``: the coefficients of the ``m``-th integral, of constants ``k`` (0)."""
    p = array_of(p)
    constants = np.zeros(m) if k is None else np.broadcast_to(np.asarray(k, np.float64), (m,))
    for constant in constants:
        powers = np.arange(len(p), 0, -1, dtype=p.dtype)
        p = np.concatenate((p / powers, np.full(1, constant, p.dtype)))
    return p


@dispatch(np.poly)
def poly(seq_of_zeros: TensorLike) -> Any:
    """``np.poly``: the coefficients of the polynomial with these zeros (a matrix: its own)."""
    zeros: Any = array_of(seq_of_zeros)
    if zeros.ndim == 2:
        zeros = np.linalg.eigvals(zeros)
    coefficients: Any = np.ones(1, zeros.dtype)
    for i in range(zeros.shape[0]):
        pair = np.concatenate((np.ones(1, zeros.dtype), -zeros[i : i + 1]))
        coefficients = convolve(coefficients, pair)
    return coefficients


@dispatch(np.roots)
def roots(p: TensorLike) -> Any:
    """``np.roots``: the zeros, as eigenvalues of the companion matrix."""
    p = array_of(p)
    some = np.flatnonzero(data_of(p))
    if not some.size:
        return np.zeros(0)
    at_zero = len(p) - 1 - some[-1]
    q = p[some[0] : some[-1] + 1]
    n = len(q) - 1
    found: Any = np.zeros(0, q.dtype)
    if n:
        top = np.reshape(-q[1:] / q[0], (1, n))
        found = np.linalg.eigvals(np.concatenate((top, np.eye(n - 1, n, dtype=q.dtype))))
    return np.concatenate((found, np.zeros(at_zero, found.dtype)))


@dispatch(np.polyfit)
def polyfit(
    x: TensorLike, y: TensorLike, deg: int, rcond: float | None = None, *, w: Any = None
) -> Any:
    """``np.polyfit``: the coefficients of least squares (``full`` and ``cov`` are not there)."""
    x, y = arrays(x, y)
    columns = vander(x, deg + 1)
    if w is not None:
        weights: Any = array_of(w)
        columns = columns * np.expand_dims(weights, 1)
        y = y * (weights if y.ndim == 1 else np.expand_dims(weights, 1))
    scale = np.sqrt((data_of(columns) ** 2).sum(axis=0))
    cut = len(x) * float(np.finfo(scale.dtype).eps) if rcond is None else rcond
    found = np.linalg.lstsq(columns / scale, y, cut)[0]
    return found / (scale if found.ndim == 1 else scale[:, None])


@dispatch(np.vander)
def vander(x: TensorLike, N: int | None = None, increasing: bool = False) -> Any:
    """``np.vander``: the powers of each element, from the highest down unless ``increasing``."""
    x = array_of(x)
    count = count_of(x) if N is None else N
    ones = np.ones((len(x), min(count, 1)), x.dtype)
    others = np.broadcast_to(np.expand_dims(x, -1), (len(x), max(count - 1, 0)))
    found = np.cumprod(np.concatenate((ones, others), axis=1), axis=1)
    return found if increasing else found[:, ::-1]
