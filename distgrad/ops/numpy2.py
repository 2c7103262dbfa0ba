"""The names that NumPy 2 added to np.linalg (the array API's), for what is there under others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.methods.calls import UFUNCS
from distgrad.autograd.op import OpResult, dispatch, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, Axis
from distgrad.ops.helpers import conjugate, data_of
from distgrad.ops.linalg import arrays, cross, matmul, outer, tensordot, to_last
from distgrad.ops.matrix_norms import Order, norm, norm_of_vectors
from distgrad.ops.shape import matrix_transpose


def vecdot(a: Array | Tensor, b: Array | Tensor, *, axis: int = -1) -> Any:
    """The sum over one axis of a (conjugated) times b; other axes broadcast."""
    a, b = (to_last(x, axis, name) for x, name in zip(arrays(a, b), "ab", strict=True))
    return scalar_product(a, b)


@op("... n, ... n -> ...")
def scalar_product(a: Array, b: Array) -> OpResult:
    """Σ conj(a) b over the last axis."""
    return np.vecdot(data_of(a), data_of(b)), (
        lambda g: np.expand_dims(conjugate(g), -1) * b,
        lambda g: np.expand_dims(g, -1) * a,
    )


def matvec(a: Array | Tensor, v: Array | Tensor) -> Any:
    """Matrices (…, m, n) times vectors (…, n)."""
    a, v = arrays(a, v)
    return np.squeeze(np.matmul(a, np.expand_dims(v, -1)), -1)


def vecmat(v: Array | Tensor, a: Array | Tensor) -> Any:
    """Vectors (…, m), conjugated, times matrices (…, m, n)."""
    v, a = arrays(v, a)
    return np.squeeze(np.matmul(np.expand_dims(conjugate(v), -2), a), -2)


def svdvals(x: Array | Tensor) -> Array:
    """The singular values, descending."""
    return np.linalg.svd(x, compute_uv=False)


def trace(x: Array | Tensor, *, offset: int = 0) -> Any:
    """The sum of a diagonal of the last two axes."""
    return np.trace(x, offset, -2, -1)


def diagonal(x: Array | Tensor, *, offset: int = 0) -> Array:
    """A diagonal of the last two axes."""
    return np.diagonal(x, offset, -2, -1)


def matrix_norm(x: Array | Tensor, *, keepdims: bool = False, ord: Order = "fro") -> Any:
    """``np.linalg.norm`` over the last two axes."""
    return norm(x, ord, (-2, -1), keepdims)


def vector_norm(
    x: Array | Tensor, *, axis: Axis = None, keepdims: bool = False, ord: float = 2
) -> Any:
    """``np.linalg.norm`` of vectors that lie along one or more axes."""
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    return norm_of_vectors(x, ord, tuple(axes), keepdims)


_NAMES: dict[str, Callable[..., Any]] = {
    "cross": cross,
    "diagonal": diagonal,
    "matmul": matmul,
    "matrix_norm": matrix_norm,
    "matrix_transpose": matrix_transpose,
    "outer": outer,
    "svdvals": svdvals,
    "tensordot": tensordot,
    "trace": trace,
    "vecdot": vecdot,
    "vector_norm": vector_norm,
}
for _name, _composed in _NAMES.items():
    dispatch(getattr(np.linalg, _name))(_composed)
for _ufunc in (vecdot, matvec, vecmat):
    if hasattr(np, _ufunc.__name__):  # matvec and vecmat came with NumPy 2.2
        UFUNCS[getattr(np, _ufunc.__name__)] = _ufunc
