"""First derivatives that are ops themselves, so that gradients of gradients stay short.

``tanh`` and ``sigmoid`` are what physics-informed networks and gradient penalties are made of.
Written out, the derivative of a derivative grows by five elementwise operations each time; as ops
of their own they are one kernel each, and closed under differentiation. The closures stand apart
from the bodies: twins return them, too, as gradients of gradients know how to read these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from distgrad.autograd.op import OpResult, op
from distgrad.autograd.types import Array
from distgrad.ops.helpers import ONE, either_fused

Back: TypeAlias = "Callable[[Array], Array]"


@op("..., ... -> ...", real=True)
def tanh_backward(g: Array, y: Array) -> OpResult:
    """g (1 - y²): the gradient ``g`` of y = tanh(x), sent back to x."""
    return g * (ONE.beside(y) - y * y), of_tanh_backward(g, y)


def of_tanh_backward(g: Array, y: Array) -> tuple[Back, Back]:
    """Return the closures of ``tanh_backward``."""
    return (
        lambda u: either_fused(tanh_backward, u, y),
        lambda u: either_fused(scaled_product, u, g, y, factor=-2.0),
    )


@op("..., ... -> ...", real=True)
def sigmoid_backward(g: Array, y: Array) -> OpResult:
    """g y (1 - y): the gradient ``g`` of y = 1 / (1 + exp(-x)), sent back to x."""
    return g * y * (ONE.beside(y) - y), of_sigmoid_backward(g, y)


def of_sigmoid_backward(g: Array, y: Array) -> tuple[Back, Back]:
    """Return the closures of ``sigmoid_backward``."""
    return (
        lambda u: either_fused(sigmoid_backward, u, y),
        lambda u: u * g * (ONE.beside(y) - (y + y)),
    )


@op("..., ..., ... -> ...", real=True)
def scaled_product(a: Array, b: Array, c: Array, *, factor: float = 1.0) -> OpResult:
    """``factor`` a b c; the gradient to each is the scaled product of the others."""
    return a * b * (factor * c), of_scaled_product(a, b, c, factor)


def of_scaled_product(a: Array, b: Array, c: Array, factor: float) -> tuple[Back, Back, Back]:
    """Return the closures of ``scaled_product``."""
    return (
        lambda u: either_fused(scaled_product, u, b, c, factor=factor),
        lambda u: either_fused(scaled_product, a, u, c, factor=factor),
        lambda u: either_fused(scaled_product, u, a, b, factor=factor),
    )
