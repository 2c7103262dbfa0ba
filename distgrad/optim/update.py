"""Update functions on flat arrays, in place: the formulas, in the papers' letters.

Those of ``kernels.UPDATES`` have a fused twin, which the optimizer asks for first.
"""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.types import Array


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
    g = grad + weight_decay * value if weight_decay else grad
    if buffer is not None:
        if first:
            buffer[...] = g
        else:
            buffer *= momentum
            buffer += (1 - dampening) * g
        g = g + momentum * buffer if nesterov else buffer
    value -= lr * g


def adamw_(
    value: Array,
    grad: Array,
    m: Array,
    v: Array,
    largest: Array | None = None,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> None:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019); ``step`` counts from 1.

    With ``largest``, the largest v so far, AMSGrad's form of it (Reddi et al. 2018).
    """
    value *= 1 - lr * weight_decay
    moments_(m, v, grad, beta1, beta2)
    if largest is not None:
        np.maximum(largest, v, out=largest)
    denominator = np.sqrt(v if largest is None else largest)
    denominator /= math.sqrt(1 - beta2**step)
    denominator += eps
    value -= lr / (1 - beta1**step) * (m / denominator)


def moments_(m: Array, v: Array, grad: Array, beta1: float, beta2: float) -> None:
    """m ← β₁ m + (1 - β₁) g and v ← β₂ v + (1 - β₂) g², as all of Adam's family has them."""
    m += (1 - beta1) * (grad - m)
    v *= beta2
    v += (1 - beta2) * (grad * grad)
