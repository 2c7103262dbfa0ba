"""Losses of regression and between distributions, with PyTorch's names, settings and reductions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import count_of, keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.nn.functional.reduction import beside, compared, mean_over, reduce_loss
from distgrad.nn.functional.wrap import same_shape, wrap, wrap_real
from distgrad.ops.helpers import fractional


def mse_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """(x - y)², averaged, summed or as it is. Errors: ShapeError for two shapes."""
    x, y = compared("mse_loss", input, target)
    result: Tensor = ops.mse(x, y, reduction=reduction)
    return result


def l1_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """|x - y|, of complex numbers too. Errors: ShapeError for two shapes."""
    x, y = same_shape("l1_loss", input, target)
    y = beside(x, y)
    return reduce_loss(np.absolute(x - y), reduction)


def huber_loss(
    input: TensorLike, target: TensorLike, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """d²/2 for d = x - y within ±``delta``, delta (|d| - delta/2) outside (Huber 1964).

    Errors: ShapeError for two shapes, or a delta that is not positive.
    """
    if delta <= 0:
        raise ShapeError(f"huber_loss: delta is the error at which it turns linear; got {delta}")
    x, y = compared("huber_loss", input, target)
    result: Tensor = ops.huber(x, y, delta=delta, reduction=reduction)
    return result


def smooth_l1_loss(
    input: TensorLike, target: TensorLike, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """d²/(2 beta) for d = x - y within ±``beta``, |d| - beta/2 outside; |d| for a beta of 0.

    Errors: ShapeError for two shapes, or a negative beta.
    """
    if beta < 0:
        raise ShapeError(f"smooth_l1_loss: beta is not negative; got {beta}")
    x, y = compared("smooth_l1_loss", input, target)
    if beta == 0:
        return l1_loss(x, y, reduction=reduction)
    result: Tensor = ops.huber(x, y, delta=beta, scale=1 / beta, reduction=reduction)
    return result


def poisson_nll_loss(
    input: TensorLike,
    target: TensorLike,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """-log of the Poisson probability of counts, without log(target!).

    ``input`` is the rate's logarithm, or with ``log_input=False`` the rate, to which ``eps`` is
    added in the logarithm. ``full`` adds Stirling's log(target!) where the target is above 1.
    Errors: ShapeError for two shapes.
    """
    x, y = compared("poisson_nll_loss", input, target)
    if log_input and not full:
        result: Tensor = ops.poisson_nll(x, y, reduction=reduction)
        return result
    loss: Any
    loss = ops.poisson_nll(x, y, reduction="none") if log_input else x - y * np.log(x + eps)
    if full:
        safe = np.where(y > 1, y, 1)
        stirling = safe * np.log(safe) - safe + 0.5 * np.log(2 * math.pi * safe)
        loss = loss + np.where(y > 1, stirling, 0)
    return reduce_loss(loss, reduction)


@whole
@keeps_form
def gaussian_nll_loss(
    input: TensorLike,
    target: TensorLike,
    var: TensorLike,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log v + (x - y)²/v) / 2, v = max(var, ``eps``): -log of the normal density of the target.

    ``var`` has the input's shape, or 1 for some axes, or no last axis, or is a number; its gradient
    ignores the limit, as in PyTorch. ``full`` adds log(2π)/2. Errors: ShapeError for other shapes
    or a negative variance.
    """
    x, y = compared("gaussian_nll_loss", input, target)
    v = beside(x, wrap_real("gaussian_nll_loss", var))
    if x.ndim and v.shape == x.shape[:-1]:
        v = v.reshape((*v.shape, 1))
    fits = all(n in (1, m) for n, m in zip(v.shape, x.shape, strict=False))
    if v.ndim and (v.ndim != x.ndim or not fits):
        raise ShapeError(
            f"gaussian_nll_loss: var has the input's shape {x.shape}, or that with axes of 1 or "
            f"without its last axis; got {wrap(var).shape}"
        )
    if (v.array < 0).any():
        raise ShapeError(f"gaussian_nll_loss: var is not negative; got {v.array.min()}")
    v = v + np.maximum(np.asarray(eps, fractional(v.dtype)) - v.array, 0)
    d = x - y
    loss: Any = 0.5 * (np.log(v) + d * d / v)
    return reduce_loss(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def kl_div(
    input: TensorLike, target: TensorLike, *, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """Target · (log target - input): the divergence of the input, log-probabilities, from it.

    ``log_target`` says that the target holds logarithms too. ``reduction="batchmean"`` divides the
    sum by the length of the first axis, as the definition has it; "mean" by all elements.
    Errors: ShapeError for two shapes.
    """
    x, t = compared("kl_div", input, target)
    if reduction != "batchmean":
        result: Tensor = ops.kl_div(x, t, log_target=log_target, reduction=reduction)
        return result
    loss = ops.kl_div(x, t, log_target=log_target, reduction="none")
    return mean_over(loss, count_of(x) if x.ndim else 1)
