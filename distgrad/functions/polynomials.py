"""Orthogonal polynomials of ``torch.special``, by their recurrences; differentiable in x.

The degree n is a whole number or an array of them that broadcasts with x; below 0 the result is 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import count_of, fixed
from distgrad.autograd.op import constant
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.whole import whole
from distgrad.functions.out import with_out
from distgrad.functions.promotion import check_real, real
from distgrad.functions.shapes import broadcast_shapes
from distgrad.ops.indexing import as_tensor
from distgrad.ops.recurrence import Term

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

Family = Callable[[int], Term]
"""From k the term of the recurrence that leads to degree k + 1."""


def _recurred(name: str, input: TensorLike, n: TensorLike, family: Family) -> Tensor:
    if not (isinstance(input, Tensor | np.ndarray) or isinstance(n, Tensor | np.ndarray)):
        raise TypeError(f"{name} takes a Tensor x or n; got two numbers")
    check_real(name, input, n)
    x: Any = as_tensor(input)
    if isinstance(n, Tensor) and n.dtype == np.float64:
        x = x.astype(np.float64)
    computed = _of_values if isinstance(n, Tensor | np.ndarray) else _of_degrees
    return computed(name, real(x), n, family)


def _of_degrees(name: str, x: Any, n: TensorLike, family: Family) -> Tensor:
    degrees: Any = n
    if type(n) is not int:
        degrees = np.trunc(np.asarray(constant(n, name, "n"))).astype(np.int64)
    if type(n) is int or not degrees.ndim:
        terms = _terms(family, int(degrees))
        found: Tensor = ops.three_term(x, terms=terms) if terms else _constant(x, int(degrees))
        return found
    x = np.broadcast_to(x, broadcast_shapes(x.shape, degrees.shape))
    terms = _terms(family, int(degrees.max(initial=0)))
    return as_tensor(ops.three_term(x, terms=terms, degrees=degrees))


@functools.lru_cache(maxsize=64)
def _terms(family: Family, n: int) -> tuple[Term, ...]:
    return tuple([family(k) for k in range(n)])


def _constant(x: Any, n: int) -> Tensor:
    lengths = [count_of(x, axis) for axis in range(x.ndim)]
    return Tensor(fixed(np.full(lengths, float(n == 0), x.dtype)))


_of_values = whole(_of_degrees)
"""Of degrees that a step may compute: how far the recurrence goes depends on them."""


def _chebyshev(alpha: int, beta: int) -> Family:
    return lambda k: (2, 0, 1, 1) if k else (alpha, beta, 0, 1)


_KINDS = {
    "t": _chebyshev(1, 0),
    "u": _chebyshev(2, 0),
    "v": _chebyshev(2, -1),
    "w": _chebyshev(2, 1),
}


@with_out
def chebyshev_polynomial_t(input: TensorLike, n: TensorLike) -> Tensor:
    """Tₙ(x): cos(n arccos x)."""
    return _recurred("chebyshev_polynomial_t", input, n, _KINDS["t"])


@with_out
def chebyshev_polynomial_u(input: TensorLike, n: TensorLike) -> Tensor:
    """Uₙ(x), of the second kind."""
    return _recurred("chebyshev_polynomial_u", input, n, _KINDS["u"])


@with_out
def chebyshev_polynomial_v(input: TensorLike, n: TensorLike) -> Tensor:
    """Vₙ(x), of the third kind."""
    return _recurred("chebyshev_polynomial_v", input, n, _KINDS["v"])


@with_out
def chebyshev_polynomial_w(input: TensorLike, n: TensorLike) -> Tensor:
    """Wₙ(x), of the fourth kind."""
    return _recurred("chebyshev_polynomial_w", input, n, _KINDS["w"])


def _shifted(family: Family) -> Family:
    def shifted(k: int) -> Term:
        alpha, beta, gamma, delta = family(k)
        return 2 * alpha, beta - alpha, gamma, delta

    return shifted


_SHIFTED = {kind: _shifted(family) for kind, family in _KINDS.items()}


@with_out
def shifted_chebyshev_polynomial_t(input: TensorLike, n: TensorLike) -> Tensor:
    """Tₙ(2 x - 1)."""
    return _recurred("shifted_chebyshev_polynomial_t", input, n, _SHIFTED["t"])


@with_out
def shifted_chebyshev_polynomial_u(input: TensorLike, n: TensorLike) -> Tensor:
    """Uₙ(2 x - 1)."""
    return _recurred("shifted_chebyshev_polynomial_u", input, n, _SHIFTED["u"])


@with_out
def shifted_chebyshev_polynomial_v(input: TensorLike, n: TensorLike) -> Tensor:
    """Vₙ(2 x - 1)."""
    return _recurred("shifted_chebyshev_polynomial_v", input, n, _SHIFTED["v"])


@with_out
def shifted_chebyshev_polynomial_w(input: TensorLike, n: TensorLike) -> Tensor:
    """Wₙ(2 x - 1)."""
    return _recurred("shifted_chebyshev_polynomial_w", input, n, _SHIFTED["w"])


def _hermite(k: int) -> Term:
    return 2, 0, 2 * k, 1


@with_out
def hermite_polynomial_h(input: TensorLike, n: TensorLike) -> Tensor:
    """Hₙ(x), of the weight exp(-x²)."""
    return _recurred("hermite_polynomial_h", input, n, _hermite)


def _hermite_e(k: int) -> Term:
    return 1, 0, k, 1


@with_out
def hermite_polynomial_he(input: TensorLike, n: TensorLike) -> Tensor:
    """Heₙ(x), of the weight exp(-x² / 2)."""
    return _recurred("hermite_polynomial_he", input, n, _hermite_e)


def _laguerre(k: int) -> Term:
    return -1, 2 * k + 1, k, k + 1


@with_out
def laguerre_polynomial_l(input: TensorLike, n: TensorLike) -> Tensor:
    """Lₙ(x), of the weight exp(-x) on x ≥ 0."""
    return _recurred("laguerre_polynomial_l", input, n, _laguerre)


def _legendre(k: int) -> Term:
    return 2 * k + 1, 0, k, k + 1


@with_out
def legendre_polynomial_p(input: TensorLike, n: TensorLike) -> Tensor:
    """Pₙ(x), of a constant weight on [-1, 1]."""
    return _recurred("legendre_polynomial_p", input, n, _legendre)
