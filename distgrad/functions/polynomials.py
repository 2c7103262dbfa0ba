"""Orthogonal polynomials of ``torch.special``, by their recurrences; differentiable in x.

The degree n is a whole number or an array of them that broadcasts with x; below 0 the result is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.op import constant
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.whole import whole
from distgrad.functions.out import with_out
from distgrad.functions.promotion import check_real, real
from distgrad.functions.shapes import broadcast_shapes
from distgrad.ops.indexing import as_tensor

__all__ = [
    "chebyshev_polynomial_t",
    "chebyshev_polynomial_u",
    "chebyshev_polynomial_v",
    "chebyshev_polynomial_w",
    "hermite_polynomial_h",
    "hermite_polynomial_he",
    "laguerre_polynomial_l",
    "legendre_polynomial_p",
    "shifted_chebyshev_polynomial_t",
    "shifted_chebyshev_polynomial_u",
    "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w",
]

Step = Callable[[int, Any, Any, Any], Any]
"""From k, x, and the polynomials of degrees k and k - 1 that of degree k + 1."""


def _recurred(name: str, input: TensorLike, n: TensorLike, first: Any, step: Step) -> Tensor:
    if not any(isinstance(v, Tensor | np.ndarray) for v in (input, n)):
        raise TypeError(f"{name} takes a Tensor x or n; got two numbers")
    check_real(name, input, n)
    x: Any = as_tensor(input)
    if isinstance(n, Tensor) and n.dtype == np.float64:
        x = x.astype(np.float64)
    computed = _of_values if isinstance(n, Tensor | np.ndarray) else _of_degrees
    return computed(name, real(x), n, first, step)


def _of_degrees(name: str, x: Any, n: TensorLike, first: Any, step: Step) -> Tensor:
    degrees = np.trunc(np.asarray(constant(n, name, "n"))).astype(np.int64)
    x = np.broadcast_to(x, broadcast_shapes(x.shape, degrees.shape))
    before, now = Tensor(fixed(np.ones(x.shape, x.dtype))), first(x)
    if degrees.ndim == 0:
        return as_tensor(_of_degree(int(degrees), x, before, now, step))
    found: Any = np.where(degrees < 0, np.zeros((), x.dtype), before)
    for k in range(1, int(degrees.max(initial=0)) + 1):
        found = np.where(degrees == k, now, found)
        before, now = now, step(k, x, now, before)
    return as_tensor(found)


def _of_degree(n: int, x: Any, before: Any, now: Any, step: Step) -> Any:
    if n < 1:
        return before if n == 0 else fixed(np.zeros(x.shape, x.dtype))
    for k in range(1, n):
        before, now = now, step(k, x, now, before)
    return now


_of_values = whole(_of_degrees)
"""Of degrees that a step may compute: how far the recurrence goes depends on them."""


def _same(x: Any) -> Any:
    return x


def _twice(x: Any) -> Any:
    return 2 * x


def _twice_less_1(x: Any) -> Any:
    return 2 * x - 1


def _twice_and_1(x: Any) -> Any:
    return 2 * x + 1


def _from_1(x: Any) -> Any:
    return 1 - x


def _chebyshev(k: int, x: Any, now: Any, before: Any) -> Any:
    return 2 * x * now - before


@with_out
def chebyshev_polynomial_t(input: TensorLike, n: TensorLike) -> Tensor:
    """Tₙ(x): cos(n arccos x)."""
    return _recurred("chebyshev_polynomial_t", input, n, _same, _chebyshev)


@with_out
def chebyshev_polynomial_u(input: TensorLike, n: TensorLike) -> Tensor:
    """Uₙ(x), of the second kind."""
    return _recurred("chebyshev_polynomial_u", input, n, _twice, _chebyshev)


@with_out
def chebyshev_polynomial_v(input: TensorLike, n: TensorLike) -> Tensor:
    """Vₙ(x), of the third kind."""
    return _recurred("chebyshev_polynomial_v", input, n, _twice_less_1, _chebyshev)


@with_out
def chebyshev_polynomial_w(input: TensorLike, n: TensorLike) -> Tensor:
    """Wₙ(x), of the fourth kind."""
    return _recurred("chebyshev_polynomial_w", input, n, _twice_and_1, _chebyshev)


def _shifted(input: Any) -> Any:
    return 2 * input - 1 if isinstance(input, int | float | Tensor) else 2 * np.asarray(input) - 1


@with_out
def shifted_chebyshev_polynomial_t(input: TensorLike, n: TensorLike) -> Tensor:
    """Tₙ(2 x - 1)."""
    return chebyshev_polynomial_t(_shifted(input), n)


@with_out
def shifted_chebyshev_polynomial_u(input: TensorLike, n: TensorLike) -> Tensor:
    """Uₙ(2 x - 1)."""
    return chebyshev_polynomial_u(_shifted(input), n)


@with_out
def shifted_chebyshev_polynomial_v(input: TensorLike, n: TensorLike) -> Tensor:
    """Vₙ(2 x - 1)."""
    return chebyshev_polynomial_v(_shifted(input), n)


@with_out
def shifted_chebyshev_polynomial_w(input: TensorLike, n: TensorLike) -> Tensor:
    """Wₙ(2 x - 1)."""
    return chebyshev_polynomial_w(_shifted(input), n)


def _hermite(k: int, x: Any, now: Any, before: Any) -> Any:
    return 2 * x * now - 2 * k * before


@with_out
def hermite_polynomial_h(input: TensorLike, n: TensorLike) -> Tensor:
    """Hₙ(x), of the weight exp(-x²)."""
    return _recurred("hermite_polynomial_h", input, n, _twice, _hermite)


def _hermite_e(k: int, x: Any, now: Any, before: Any) -> Any:
    return x * now - k * before


@with_out
def hermite_polynomial_he(input: TensorLike, n: TensorLike) -> Tensor:
    """Heₙ(x), of the weight exp(-x² / 2)."""
    return _recurred("hermite_polynomial_he", input, n, _same, _hermite_e)


def _laguerre(k: int, x: Any, now: Any, before: Any) -> Any:
    return ((2 * k + 1 - x) * now - k * before) / (k + 1)


@with_out
def laguerre_polynomial_l(input: TensorLike, n: TensorLike) -> Tensor:
    """Lₙ(x), of the weight exp(-x) on x ≥ 0."""
    return _recurred("laguerre_polynomial_l", input, n, _from_1, _laguerre)


def _legendre(k: int, x: Any, now: Any, before: Any) -> Any:
    return ((2 * k + 1) * x * now - k * before) / (k + 1)


@with_out
def legendre_polynomial_p(input: TensorLike, n: TensorLike) -> Tensor:
    """Pₙ(x), of a constant weight on [-1, 1]."""
    return _recurred("legendre_polynomial_p", input, n, _same, _legendre)
