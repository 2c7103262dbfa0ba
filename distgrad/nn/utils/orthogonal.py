"""Orthogonal matrices as a function of any: the exponential, Cayley's and Householder's maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.nn import init
from distgrad.nn.module import Module

MAPS = ("matrix_exp", "cayley", "householder")


class Orthogonal(Module):
    """Q(X), times the orthogonal ``base`` if it is to begin from a given matrix."""

    base: Any

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        if orthogonal_map not in MAPS:
            raise ShapeError(
                f"orthogonal: orthogonal_map={orthogonal_map!r} must be one of {', '.join(MAPS)}"
            )
        if orthogonal_map == "householder" and weight.dtype.kind == "c":
            raise ShapeError("orthogonal: the householder map is for real matrices")
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        self.trivialized = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        """Return the orthogonal matrix of ``X`` (…, n, k)."""
        wide = X.shape[-2] < X.shape[-1]
        x: Any = np.swapaxes(X, -1, -2) if wide else X
        if self.orthogonal_map == "householder":
            q = _reflections(x)
        else:
            q = _of_skew(x, self.orthogonal_map)
        if self.trivialized:
            q = self.base @ q
        found: Tensor = np.swapaxes(q, -1, -2) if wide else q
        return found

    def right_inverse(self, Q: Tensor) -> Tensor:
        """Return what gives ``Q``, or the orthogonal matrix of its QR decomposition.

        Errors: NotImplementedError for the exponential and Cayley's map without a base.
        """
        if Q.shape != self.shape:
            raise ShapeError(f"orthogonal: expected the shape {self.shape}; got {Q.shape}")
        q = Q.array
        wide = q.shape[-2] < q.shape[-1]
        q = np.swapaxes(q, -1, -2) if wide else q
        n, k = q.shape[-2:]
        if not self.trivialized:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "the exponential and Cayley's map cannot be inverted without a base: pass "
                    "use_trivialization=True"
                )
            x = _reflectors(q)
            return Tensor(np.ascontiguousarray(np.swapaxes(x, -1, -2) if wide else x))
        if n != k:
            # Completed to a square one by columns at random.
            more = Tensor(np.zeros((*q.shape[:-1], n - k), q.dtype))
            init.normal_(more)
            q = np.concatenate([q, more.array], axis=-1)
        self.base = Tensor(q.copy() if n == k and _is_orthogonal(q) else _orthogonalized(q))
        # The diagonal is Householder's signs, those of the others do not see it: Q(-I) = I.
        start = np.zeros(self.shape, q.dtype)
        start[..., range(k), range(k)] = -1
        return Tensor(start)


def _of_skew(x: Any, orthogonal_map: str) -> Any:
    n, k = x.shape[-2:]
    x = np.tril(x)
    if n != k:
        x = np.concatenate([x, fixed(np.zeros((*x.shape[:-1], n - k), x.dtype))], axis=-1)
    a = x - np.conj(np.swapaxes(x, -1, -2))
    eye = fixed(np.eye(n, dtype=a.dtype))
    q = ops.matrix_exp(a) if orthogonal_map == "matrix_exp" else ops.solve(eye - a / 2, eye + a / 2)
    return q[..., :k]


def _reflections(x: Any) -> Any:
    """Return columns of H₁ … Hₖ with Hᵢ = I - τᵢ vᵢ vᵢᵀ, times the signs of X's diagonal."""
    n, k = x.shape[-2:]
    below = np.tril(x, -1)
    tau = 2 / (1 + np.sum(below * below, axis=-2))
    q: Any = fixed(np.eye(n, k, dtype=x.dtype))
    v = below + q
    for i in reversed(range(k)):
        column = v[..., i : i + 1]
        rate = np.reshape(tau[..., i], (*x.shape[:-2], 1, 1))
        q = q - rate * (column @ (np.swapaxes(column, -1, -2) @ q))
    signs = np.trunc(np.diagonal(x, axis1=-2, axis2=-1))  # 1 and -1: not trained
    return q * signs[..., None, :]


def _reflectors(q: Array) -> Array:
    """Return the reflectors of the QR decomposition, with signs that make R's diagonal positive."""
    raw, tau = np.linalg.qr(q, mode="raw")
    x = np.swapaxes(raw, -1, -2).copy()
    k = x.shape[-1]
    diagonal = np.sign(x[..., range(k), range(k)])
    x[..., range(k), range(k)] = np.where(tau == 0, -diagonal, diagonal)
    return x


def _is_orthogonal(q: Array) -> bool:
    n = q.shape[-1]
    product = np.conj(np.swapaxes(q, -1, -2)) @ q
    return bool(np.allclose(product, np.eye(n), atol=10 * n * float(np.finfo(q.dtype).eps)))


def _orthogonalized(a: Array) -> Array:
    """Return the Q of A = Q R with a positive diagonal of R."""
    q, r = np.linalg.qr(a)
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    found: Array = q * np.sign(diagonal.real)[..., None, :].astype(q.dtype)
    return found
