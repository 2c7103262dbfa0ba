"""Fused in-place updates of flat arrays: the twins of distgrad.optim's reference updates."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.arrays import Scalar
from distgrad.kernels.jit import kernel


def sgd_(
    value: Array,
    grad: Array,
    buffer: Array | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
) -> None:
    """θ ← θ - lr b, with b ← μ b + (1 - dampening) g (Sutskever et al. 2013, PyTorch's form)."""
    t = value.dtype.type
    if buffer is None:
        _plain(value, grad, t(lr), t(weight_decay))
        return
    if first:
        momentum_, fresh = 0.0, 1.0
        buffer.fill(0)
    else:
        momentum_, fresh = momentum, 1 - dampening
    ahead = momentum if nesterov else 1.0
    _momentum(
        *(value, grad, buffer, t(lr), t(momentum_), t(fresh), t(weight_decay), t(ahead)),
        t(1.0 if nesterov else 0.0),
    )


@kernel
def _plain(value: Array, grad: Array, lr: Scalar, decay: Scalar) -> None:
    for i in range(value.size):
        value[i] -= lr * (grad[i] + decay * value[i])


@kernel
def _momentum(
    value: Array,
    grad: Array,
    buffer: Array,
    lr: Scalar,
    momentum: Scalar,
    fresh: Scalar,
    decay: Scalar,
    ahead: Scalar,
    own: Scalar,
) -> None:
    for i in range(value.size):
        g = grad[i] + decay * value[i]
        b = momentum * buffer[i] + fresh * g
        buffer[i] = b
        value[i] -= lr * (own * g + ahead * b)


def adamw_(
    value: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> None:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019); ``step`` counts from 1."""
    t = value.dtype.type
    _adamw(
        *(value, grad, exp_avg, exp_avg_sq, t(1 - lr * weight_decay), t(1 - beta1), t(beta2)),
        *(t(1 - beta2), t(1 / math.sqrt(1 - beta2**step)), t(eps), t(lr / (1 - beta1**step))),
    )


@kernel
def _adamw(
    value: Array,
    grad: Array,
    m: Array,
    v: Array,
    keep: Scalar,
    fresh1: Scalar,
    beta2: Scalar,
    fresh2: Scalar,
    correction: Scalar,
    eps: Scalar,
    rate: Scalar,
) -> None:
    for i in range(value.size):
        g = grad[i]
        a = m[i] + fresh1 * (g - m[i])
        b = beta2 * v[i] + fresh2 * g * g
        m[i] = a
        v[i] = b
        value[i] = keep * value[i] - rate * (a / (np.sqrt(b) * correction + eps))
