"""``torch.special`` by PyTorch's names and arguments, without what the gamma function makes."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.op import constant
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import DTypeLike, Ints
from distgrad.functions.gamma import (
    digamma,
    erfinv,
    igamma,
    igammac,
    lgamma,
    mvlgamma,
    polygamma,
)
from distgrad.functions.out import with_out
from distgrad.functions.polynomials import (
    chebyshev_polynomial_t,
    chebyshev_polynomial_u,
    chebyshev_polynomial_v,
    chebyshev_polynomial_w,
    hermite_polynomial_h,
    hermite_polynomial_he,
    laguerre_polynomial_l,
    legendre_polynomial_p,
    shifted_chebyshev_polynomial_t,
    shifted_chebyshev_polynomial_u,
    shifted_chebyshev_polynomial_v,
    shifted_chebyshev_polynomial_w,
)
from distgrad.ops.indexing import as_tensor

__all__ = [
    "bessel_j0",
    "bessel_j1",
    "chebyshev_polynomial_t",
    "chebyshev_polynomial_u",
    "chebyshev_polynomial_v",
    "chebyshev_polynomial_w",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammainc",
    "gammaincc",
    "gammaln",
    "hermite_polynomial_h",
    "hermite_polynomial_he",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "laguerre_polynomial_l",
    "legendre_polynomial_p",
    "log1p",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "modified_bessel_i0",
    "modified_bessel_i1",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "round",
    "shifted_chebyshev_polynomial_t",
    "shifted_chebyshev_polynomial_u",
    "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w",
    "sinc",
    "softmax",
    "spherical_bessel_j0",
    "xlog1py",
    "xlogy",
    "zeta",
]


def _real(x: TensorLike) -> Tensor:
    """A Tensor with a fraction: whole numbers as float32, PyTorch's default."""
    x = as_tensor(x)
    return x.astype(get_default_dtype()) if x.dtype.kind in "biu" else x


def _pair(a: TensorLike, b: TensorLike) -> tuple[Any, Any]:
    """Two operands, Python's numbers as they are beside a Tensor."""
    if isinstance(a, int | float):
        if isinstance(b, int | float):
            raise TypeError(f"one of the two is a Tensor; got the numbers {a} and {b}")
        return a, _real(b)
    return _real(a), b if isinstance(b, int | float) else _real(b)


def entr(input: TensorLike) -> Tensor:
    """-x log x; 0 at 0, -inf below."""
    return as_tensor(ops.entr(_real(input)))


def erf(input: TensorLike) -> Tensor:
    """The error function."""
    return as_tensor(ops.erf(_real(input)))


def erfc(input: TensorLike) -> Tensor:
    """1 - erf(x), exact in the tail."""
    return as_tensor(ops.erfc(_real(input)))


def erfcx(input: TensorLike) -> Tensor:
    """exp(x²) erfc(x)."""
    return as_tensor(ops.erfcx(_real(input)))


def exp2(input: TensorLike) -> Tensor:
    """2 to the power x."""
    return as_tensor(ops.exp2(_real(input)))


def expm1(input: TensorLike) -> Tensor:
    """exp(x) - 1, exact near 0."""
    return as_tensor(ops.expm1(_real(input)))


def expit(input: TensorLike) -> Tensor:
    """The logistic sigmoid."""
    return as_tensor(ops.sigmoid(_real(input)))


def logit(input: TensorLike, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), of x limited to [eps, 1 - eps] first if ``eps`` is given."""
    x = _real(input)
    if eps is not None:
        x = as_tensor(ops.clip(x, eps, 1 - eps))
    else:
        x = x.masked_fill((x.array < 0) | (x.array > 1), np.nan)
    return as_tensor(ops.log(x / (1 - x)))


def log1p(input: TensorLike) -> Tensor:
    """log(1 + x), exact near 0."""
    return as_tensor(ops.log1p(_real(input)))


def ndtr(input: TensorLike) -> Tensor:
    """The standard normal distribution function Φ."""
    return as_tensor(ops.normal_cdf(_real(input)))


def log_ndtr(input: TensorLike) -> Tensor:
    """log Φ(x), exact in both tails."""
    return as_tensor(ops.log_ndtr(_real(input)))


def round(input: TensorLike, *, decimals: int = 0) -> Tensor:
    """x with ``decimals`` decimals, halves to the even one; the gradient is 0."""
    return as_tensor(ops.round(as_tensor(input), decimals=decimals))


def sinc(input: TensorLike) -> Tensor:
    """sin(π x) / (π x); 1 at 0."""
    x = _real(input)
    if x.dtype.kind == "c":
        zero = x.array == 0
        angle = np.pi * np.where(zero, 1, x)
        return as_tensor(np.where(zero, 1, np.sin(angle) / angle))
    return as_tensor(ops.sinc(x))


def xlogy(input: TensorLike, other: TensorLike) -> Tensor:
    """x log y; 0 where x is 0."""
    return as_tensor(ops.xlogy(*_pair(input, other)))


def xlog1py(input: TensorLike, other: TensorLike) -> Tensor:
    """x log(1 + y); 0 where x is 0, unless y is NaN."""
    return as_tensor(ops.xlog1py(*_pair(input, other)))


# -- along an axis --------------------------------------------------------------------------------


def softmax(input: TensorLike, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """exp(x) / Σ exp(x) along ``dim``, without overflow."""
    return _along(ops.softmax, input, dim, dtype)


def log_softmax(input: TensorLike, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """x - log Σ exp(x) along ``dim``, without overflow."""
    return _along(ops.log_softmax, input, dim, dtype)


def _along(declared: Any, input: TensorLike, dim: int, dtype: DTypeLike | None) -> Tensor:
    x = as_tensor(input)
    x = x if dtype is None else x.astype(dtype)
    if x.ndim == 0:
        return as_tensor(np.reshape(declared(np.reshape(x, (1,)), axis=dim), ()))
    return as_tensor(declared(x, axis=dim))


def logsumexp(input: TensorLike, dim: Ints, keepdim: bool = False) -> Tensor:
    """log Σ exp(x) over ``dim``, without overflow."""
    x = _real(input)
    axis = None if x.ndim == 0 else tuple(dim) if isinstance(dim, list) else dim
    if x.dtype.kind != "c":
        return as_tensor(ops.logsumexp(x, axis=axis, keepdims=keepdim))
    top = x.array.real.max(axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    found = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return as_tensor(found if keepdim else np.squeeze(found, axis))


# -- Bessel functions and zeta --------------------------------------------------------------------


def i0(input: TensorLike) -> Tensor:
    """The modified Bessel function I₀."""
    return as_tensor(ops.i0(_real(input)))


def i0e(input: TensorLike) -> Tensor:
    """exp(-|x|) I₀(x)."""
    return as_tensor(ops.i0e(_real(input)))


def i1(input: TensorLike) -> Tensor:
    """The modified Bessel function I₁."""
    return as_tensor(ops.i1(_real(input)))


def i1e(input: TensorLike) -> Tensor:
    """exp(-|x|) I₁(x)."""
    return as_tensor(ops.i1e(_real(input)))


def modified_bessel_i0(input: TensorLike) -> Tensor:
    """``i0`` by another name."""
    return i0(input)


def modified_bessel_i1(input: TensorLike) -> Tensor:
    """``i1`` by another name."""
    return i1(input)


def bessel_j0(input: TensorLike) -> Tensor:
    """The Bessel function J₀; it has a gradient, which PyTorch's has not."""
    return as_tensor(ops.bessel_j0(_real(input)))


def bessel_j1(input: TensorLike) -> Tensor:
    """The Bessel function J₁; it has a gradient, which PyTorch's has not."""
    return as_tensor(ops.bessel_j1(_real(input)))


def spherical_bessel_j0(input: TensorLike) -> Tensor:
    """sin(x) / x; 1 at 0."""
    return as_tensor(ops.sinc(_real(input) / np.pi))


def zeta(input: TensorLike, other: TensorLike) -> Tensor:
    """Hurwitz's Σ (k + other)⁻ˣ; the exponent x has no gradient, as in PyTorch."""
    if isinstance(input, int | float) and isinstance(other, int | float):
        raise TypeError(f"one of the two is a Tensor; got the numbers {input} and {other}")
    x = np.asarray(constant(input, "zeta", "input"))
    q = _real(other)
    if x.dtype == np.float64 and not isinstance(input, int | float):
        q = q.astype(np.float64)
    return as_tensor(ops.zeta(q, x=x))


@with_out
def ndtri(input: TensorLike) -> Tensor:
    """The number below which a standard normal variable lies with probability ``input``."""
    found: Tensor = ops.ndtri(_real(input))
    return found


# The gamma function's family by the names it has here.
gammaln, psi, multigammaln = lgamma, digamma, mvlgamma
gammainc, gammaincc = igamma, igammac
