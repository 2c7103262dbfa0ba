"""The gamma function's family and the inverse of erf, by PyTorch's names."""

from __future__ import annotations

from distgrad import ops
from distgrad.autograd.methods.calls import call
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.functions.arguments import tensor_of
from distgrad.functions.elementwise import curve
from distgrad.functions.out import with_out
from distgrad.functions.promotion import check_real, real_alone

IN_PLACE = ["digamma", "erfinv", "i0", "igamma", "igammac", "lgamma", "mvlgamma"]

__all__ = ["digamma", "erfinv", "i0", "igamma", "igammac", "lgamma", "mvlgamma", "polygamma"]


lgamma = curve("lgamma", ops.lgamma, "The logarithm of |Γ|.", real_only=True)
digamma = curve("digamma", ops.digamma, "The derivative of ``lgamma``.", real_only=True)


@with_out
def polygamma(n: int, input: TensorLike) -> Tensor:
    """The ``n``-th derivative of ``digamma``."""
    return call(ops.polygamma, real_alone(input, "polygamma"), n=n)


@with_out
def mvlgamma(input: TensorLike, p: int) -> Tensor:
    """The logarithm of the gamma function of ``p`` variables."""
    return ops.mvlgamma(real_alone(input, "mvlgamma"), p)


@with_out
def igamma(input: TensorLike, other: TensorLike) -> Tensor:
    """The lower incomplete gamma function of order ``input``, over the whole."""
    check_real("igamma", input, other)
    return call(ops.igamma, tensor_of(input), other)


@with_out
def igammac(input: TensorLike, other: TensorLike) -> Tensor:
    """The upper incomplete gamma function of order ``input``, over the whole."""
    check_real("igammac", input, other)
    return call(ops.igammac, tensor_of(input), other)


erfinv = curve("erfinv", ops.erfinv, "The number whose ``erf`` it is.", real_only=True)
i0 = curve(
    "i0", ops.i0, "The modified Bessel function of the first kind, of order 0.", real_only=True
)


def _polygamma(input: Tensor, n: int) -> Tensor:
    """The ``n``-th derivative of ``digamma``."""
    return polygamma(n, input)


def _polygamma_(input: Tensor, n: int) -> Tensor:
    """``polygamma`` in place."""
    return input._become(polygamma(n, input), "x.polygamma_()")


METHODS = {name: globals()[name] for name in __all__} | {
    "polygamma": _polygamma,
    "polygamma_": _polygamma_,
}
"""The method has the tensor first."""
