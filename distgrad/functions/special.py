"""``torch.special`` by PyTorch's names and arguments; what ``torch`` has too is the same here."""

from __future__ import annotations

import math

import numpy as np

from distgrad import ops
from distgrad.autograd.op import constant
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.functions.arithmetic import xlogy
from distgrad.functions.elementwise import (
    curve,
    erf,
    erfc,
    exp2,
    expm1,
    log1p,
    log_softmax,
    logit,
    sigmoid,
    sinc,
    softmax,
)
from distgrad.functions.gamma import (
    digamma,
    erfinv,
    i0,
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
from distgrad.functions.promotion import check_a_tensor, check_real, real, reals
from distgrad.functions.reductions import logsumexp
from distgrad.functions.rounding import round
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


entr = curve("entr", ops.entr, "-x log x; 0 at 0, -inf below.", real_only=True)
erfcx = curve("erfcx", ops.erfcx, "exp(x²) erfc(x).", real_only=True)
ndtr = curve("ndtr", ops.normal_cdf, "The standard normal distribution function Φ.", real_only=True)
ndtri = curve(
    "ndtri",
    ops.ndtri,
    "The number below which a standard normal variable lies with probability ``input``.",
    real_only=True,
)
log_ndtr = curve("log_ndtr", ops.log_ndtr, "log Φ(x), exact in both tails.", real_only=True)


@with_out
def xlog1py(input: TensorLike, other: TensorLike) -> Tensor:
    """x log(1 + y); 0 where x is 0, unless y is NaN."""
    check_a_tensor("xlog1py", input, other)
    check_real("xlog1py", input, other)
    return as_tensor(ops.xlog1py(*reals(input, other)))


# -- Bessel functions and zeta --------------------------------------------------------------------


i0e = curve("i0e", ops.i0e, "exp(-|x|) I₀(x).", real_only=True)
i1 = curve("i1", ops.i1, "The modified Bessel function I₁.", real_only=True)
i1e = curve("i1e", ops.i1e, "exp(-|x|) I₁(x).", real_only=True)


@with_out
def modified_bessel_i0(input: TensorLike) -> Tensor:
    """``i0`` by another name."""
    return i0(input)


@with_out
def modified_bessel_i1(input: TensorLike) -> Tensor:
    """``i1`` by another name."""
    return i1(input)


bessel_j0 = curve(
    "bessel_j0",
    ops.bessel_j0,
    "The Bessel function J₀; it has a gradient, which PyTorch's has not.",
    real_only=True,
)
bessel_j1 = curve(
    "bessel_j1",
    ops.bessel_j1,
    "The Bessel function J₁; it has a gradient, which PyTorch's has not.",
    real_only=True,
)


spherical_bessel_j0 = curve(
    "spherical_bessel_j0",
    lambda x: ops.sinc(x / math.pi),
    "sin(x) / x; 1 at 0.",
    real_only=True,
)


@with_out
def zeta(input: TensorLike, other: TensorLike) -> Tensor:
    """Hurwitz's Σ (k + other)⁻ˣ; the exponent x has no gradient, as in PyTorch."""
    check_a_tensor("zeta", input, other)
    check_real("zeta", input, other)
    constant(input, "zeta", "input")
    x = input if isinstance(input, Tensor) else np.asarray(input)
    q = real(other)
    if x.dtype == np.float64 and not isinstance(input, int | float):
        q = q.astype(np.float64)
    return as_tensor(ops.zeta(q, x=x))


# By the names they have here.
expit = sigmoid
gammaln, psi, multigammaln = lgamma, digamma, mvlgamma
gammainc, gammaincc = igamma, igammac
