"""The gamma function's family and the inverse of erf, by PyTorch's names."""

from __future__ import annotations

from distgrad import ops
from distgrad.autograd.methods.calls import call
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.functions.arguments import tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import check_real, real_alone

IN_PLACE = ["digamma", "erfinv", "i0", "igamma", "igammac", "lgamma", "mvlgamma"]

__all__ = ["digamma", "erfinv", "i0", "igamma", "igammac", "lgamma", "mvlgamma", "polygamma"]


@with_out
def lgamma(input: TensorLike) -> Tensor:
    """The logarithm of |Γ|."""
    return call(ops.lgamma, real_alone(input, "lgamma"))


@with_out
def digamma(input: TensorLike) -> Tensor:
    """The derivative of ``lgamma``."""
    return call(ops.digamma, real_alone(input, "digamma"))


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


@with_out
def erfinv(input: TensorLike) -> Tensor:
    """The number whose ``erf`` it is."""
    return call(ops.erfinv, real_alone(input, "erfinv"))


@with_out
def i0(input: TensorLike) -> Tensor:
    """The modified Bessel function of the first kind, of order 0."""
    return call(ops.i0, real_alone(input, "i0"))


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
