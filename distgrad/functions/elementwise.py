"""Functions of each element, by PyTorch's names."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.methods.calls import call
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.functions.arguments import tensor_of
from distgrad.functions.out import with_out

IN_PLACE = ["abs", "acos", "add", "exp"]

__all__ = ["abs", "acos", "add", "exp"]


@with_out
def add(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``."""
    return call(np.add, tensor_of(input), other if alpha == 1 else tensor_of(other) * alpha)


@with_out
def abs(input: TensorLike) -> Tensor:
    """The distance from 0."""
    return call(np.absolute, tensor_of(input))


@with_out
def acos(input: TensorLike) -> Tensor:
    """The angle in [0, π] whose cosine it is."""
    return call(np.arccos, tensor_of(input))


@with_out
def exp(input: TensorLike) -> Tensor:
    """The exponential."""
    return call(np.exp, tensor_of(input))
