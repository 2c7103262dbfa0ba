"""A convolution or linear layer with the batch-norm behind it as one layer, for evaluation."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, TypeVar

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.tensor import Tensor
from distgrad.errors import GradError
from distgrad.nn.module import Module, Parameter

M = TypeVar("M", bound=Module)


@explained
def fuse_conv_bn_eval(conv: M, bn: Module, transpose: bool = False) -> M:
    """Return a copy of ``conv`` that computes ``bn(conv(x))``; both are in evaluation mode.

    ``transpose`` says that it is a transposed convolution. Errors: GradError in training mode.
    """
    return _fused(conv, bn, partial(fuse_conv_bn_weights, transpose=transpose))


@explained
def fuse_linear_bn_eval(linear: M, bn: Module) -> M:
    """Return a copy of ``linear`` that computes ``bn(linear(x))``; both are in evaluation mode.

    Errors: GradError in training mode.
    """
    return _fused(linear, bn, fuse_linear_bn_weights)


@explained
def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Return weight and bias of the convolution (out, in, …; transposed: in, out, …) with both."""
    axis = 1 if transpose else 0
    shape = [1] * conv_w.ndim
    shape[axis] = -1
    return _folded(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, tuple(shape))


@explained
def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """Return weight (out, in) and bias of the linear layer that computes both."""
    return _folded(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, (-1, 1))


def _folded(
    w: Tensor,
    b: Tensor | None,
    mean: Tensor,
    var: Tensor,
    eps: float,
    gamma: Tensor | None,
    beta: Tensor | None,
    shape: tuple[int, ...],
) -> tuple[Parameter, Parameter]:
    scale = 1 / np.sqrt(var.array + eps)
    if gamma is not None:
        scale = scale * gamma.array
    weight = w.array * scale.reshape(shape).astype(w.dtype)
    bias = ((0 if b is None else b.array) - mean.array) * scale + (
        0 if beta is None else beta.array
    )
    return Parameter(weight, w.requires_grad), Parameter(bias.astype(w.dtype), w.requires_grad)


def _fused(layer: M, bn: Any, weights: Any) -> M:
    if layer.training or bn.training:
        raise GradError(
            f"{type(layer).__name__} and {type(bn).__name__} can be put together in evaluation "
            f"only, where the statistics stand still: call eval() on both"
        )
    fused: Any = copy.deepcopy(layer)
    given = (fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias)
    fused.weight, bias = weights(*given)
    if fused.bias is None:
        del fused.bias
    fused.bias = bias
    found: M = fused
    return found
