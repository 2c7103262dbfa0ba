"""``np.linalg.norm``, powers and chains of matrices: composed from other ops."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.op import dispatch
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Axis
from distgrad.errors import ShapeError
from distgrad.ops.complex_numbers import is_complex
from distgrad.ops.linalg import arrays
from distgrad.ops.measure import vector_norm

Order: TypeAlias = "float | str"

_ORDERS = "'fro', 'nuc', inf, -inf, 1, -1, 2, -2"


@dispatch(np.linalg.norm)
def norm(x: TensorLike, ord: Order | None = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """``np.linalg.norm``: of vectors (any order) or matrices (by name, 1, 2 or inf, ±).

    Without an order all elements of ``axis`` count alike: the 2-norm. Errors: ShapeError.
    """
    (x,) = arrays(x)
    if axis is None:
        axis = tuple(range(x.ndim))
        if ord is None:
            return norm_of_vectors(x, 2, axis, keepdims)
    axes = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    if len(axes) not in (1, 2):
        raise ShapeError(
            f"np.linalg.norm takes one axis of vectors or two of matrices; got axis={axis} for "
            f"shape {x.shape}"
        )
    if len(axes) == 1 and isinstance(ord, str):
        raise ShapeError(f"'{ord}' is a norm of matrices; a vector's order is a number")
    if len(axes) == 1 or ord in (None, "fro"):
        return norm_of_vectors(x, 2 if ord in (None, "fro") else ord, axes, keepdims)
    return _matrix_norm(x, ord, axes, keepdims)


def _matrix_norm(x: Array, order: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    row, column = (i % x.ndim for i in axes)
    if order in (1, -1, np.inf, -np.inf):
        # 1: the largest column sum; inf: the largest row sum.
        summed, left = (row, column) if abs(order) == 1 else (column, row)
        sums = np.sum(np.abs(x), axis=summed, keepdims=True)
        y = (np.amax if order > 0 else np.amin)(sums, axis=left, keepdims=True)
    elif order in (2, -2, "nuc"):
        rest = [i for i in range(x.ndim) if i not in (row, column)]
        s = np.linalg.svd(np.transpose(x, [*rest, row, column]), compute_uv=False)
        reduce = np.sum if order == "nuc" else np.amax if order > 0 else np.amin
        y = np.expand_dims(reduce(s, axis=-1), tuple(sorted((row, column))))
    else:
        raise ShapeError(f"the norms of matrices are {_ORDERS}; got {order!r}")
    return y if keepdims else np.squeeze(y, axis=(row, column))


def norm_of_vectors(x: Array | Tensor, order: Order, axes: tuple[int, ...], keepdims: bool) -> Any:
    """The norm of vectors that lie along ``axes``, of any order; complex ones by absolute value."""
    return vector_norm(np.abs(x) if is_complex(x) else x, ord=order, axis=axes, keepdims=keepdims)


@dispatch(np.linalg.matrix_power)
def matrix_power(a: Array | Tensor, n: int) -> Any:
    """``np.linalg.matrix_power``: a multiplied n times, by squaring; of the inverse if n < 0."""
    if not isinstance(n, int | np.integer):
        raise ShapeError(f"matrix_power takes a whole number; got {n!r}")
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"matrix_power takes square matrices; got shape {a.shape}")
    if n == 0:
        return Tensor(fixed(np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape).copy()))
    square = np.linalg.inv(a) if n < 0 else a
    result = None
    n = abs(n)
    while n:
        if n % 2:
            result = square if result is None else np.matmul(result, square)
        n //= 2
        if n:
            square = np.matmul(square, square)
    return result


@dispatch(np.linalg.multi_dot)
def multi_dot(matrices: Sequence[TensorLike]) -> Any:
    """``np.linalg.multi_dot``: a chain of matrices (vectors at its ends), in the cheapest order."""
    chain = arrays(*matrices)
    if len(chain) < 2 or any(
        x.ndim != 2 and not (x.ndim == 1 and i in (0, len(chain) - 1)) for i, x in enumerate(chain)
    ):
        raise ShapeError(
            f"multi_dot takes two or more matrices, the first and the last may be vectors; got "
            f"shapes {[x.shape for x in chain]}"
        )
    first, last = chain[0].shape, chain[-1].shape
    rows = [first[0] if len(first) == 2 else 1, *(x.shape[0] for x in chain[1:])]
    return _chained(chain, [*rows, last[1] if len(last) == 2 else 1])


def _chained(chain: Sequence[Array], lengths: Sequence[int]) -> Any:
    """Matrix i is (lengths[i], lengths[i + 1]) (Cormen et al., Matrix-chain multiplication)."""

    @functools.cache
    def best(i: int, j: int) -> tuple[int, int]:
        """The cost of the product of i to j, and the last matrix of its left part."""
        if i == j:
            return 0, i
        ends = lengths[i] * lengths[j + 1]
        return min(
            (best(i, k)[0] + best(k + 1, j)[0] + ends * lengths[k + 1], k) for k in range(i, j)
        )

    def product(i: int, j: int) -> Any:
        if i == j:
            return chain[i]
        k = best(i, j)[1]
        return np.matmul(product(i, k), product(k + 1, j))

    return product(0, len(chain) - 1)
