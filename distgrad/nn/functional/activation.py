"""Activations and the softmax family."""

from __future__ import annotations

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap


def relu(x: TensorLike) -> Tensor:
    """max(x, 0)."""
    result: Tensor = ops.relu(wrap(x))
    return result


def gelu(x: TensorLike, approximate: str = "none") -> Tensor:
    """x Φ(x); ``approximate="tanh"`` is the faster form."""
    if approximate not in {"none", "tanh"}:
        raise ShapeError(f"gelu: approximate is 'none' or 'tanh'; got {approximate!r}")
    result: Tensor = (ops.gelu_tanh if approximate == "tanh" else ops.gelu)(wrap(x))
    return result


def tanh(x: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    result: Tensor = ops.tanh(wrap(x))
    return result


def sigmoid(x: TensorLike) -> Tensor:
    """1 / (1 + exp(-x))."""
    result: Tensor = ops.sigmoid(wrap(x))
    return result


def softmax(x: TensorLike, dim: int = -1) -> Tensor:
    """exp(x) / Σ exp(x) over axis ``dim``."""
    result: Tensor = ops.softmax(wrap(x), axis=dim)
    return result


def log_softmax(x: TensorLike, dim: int = -1) -> Tensor:
    """x - log Σ exp(x) over axis ``dim``."""
    result: Tensor = ops.log_softmax(wrap(x), axis=dim)
    return result
