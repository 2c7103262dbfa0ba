"""Rates by layer for large batches: LARS and LAMB."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kinds import NonNegative
from distgrad.optim.norms import norm
from distgrad.optim.optimizer import Betas, Group, Optimizer, Params
from distgrad.optim.run import State
from distgrad.optim.update import mix_, move_


class LARS(Optimizer):
    """SGD whose rate is set layer by layer, for large batches (You et al. 2017, algorithm 1).

    A parameter moves by about ``lr * trust_coefficient`` of its own norm. Give biases and norms a
    group of their own with ``adapt=False`` (plain momentum) and ``weight_decay=0``, as is usual.
    A parameter or gradient of norm 0 is not adapted either.
    """

    elementwise = False
    trains_complex = False

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: NonNegative = 0.1,
        momentum: NonNegative = 0.9,
        weight_decay: NonNegative = 0.0,
        trust_coefficient: NonNegative = 1e-3,
        *,
        adapt: bool = True,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "trust_coefficient": trust_coefficient,
                "adapt": adapt,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the momentum buffer's name."""
        return ["momentum_buffer"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``lars_``."""
        lars_(value, grad, state["momentum_buffer"], **self.settings(group))


class LAMB(Optimizer):
    """Adam whose steps have the length of their layer, times ``lr`` (You et al. 2020).

    Give biases and norms a group of their own with ``adapt=False`` (AdamW's step) and
    ``weight_decay=0``, as is usual. A parameter or step of norm 0 is not adapted either.
    """

    elementwise = False
    trains_complex = False

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: NonNegative = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-6,
        weight_decay: NonNegative = 1e-2,
        *,
        adapt: bool = True,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "adapt": adapt,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the two moments' names."""
        return ["exp_avg", "exp_avg_sq"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``lamb_``."""
        arrays = (value, grad, state["exp_avg"], state["exp_avg_sq"])
        lamb_(*arrays, step=step, **self.settings(group))


def lars_(
    value: Array,
    grad: Array,
    buffer: Array,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    trust_coefficient: float,
    adapt: bool,
    maximize: bool = False,
) -> None:
    """w ← w - v with v ← μ v + lr λ (g + β w) and λ = η ‖w‖ / (‖g‖ + β ‖w‖)."""
    rate = lr
    w, g = norm(value), norm(grad)
    if adapt and w > 0 and g > 0:
        rate *= trust_coefficient * w / (g + weight_decay * w)
    flat = (value.reshape(-1), grad.reshape(-1), (buffer.reshape(-1),))
    move_(_lars, *flat, momentum, rate, weight_decay, maximize=maximize)


def _lars(x: Any, g: Any, v: Any, mu: Any, rate: Any, decay: Any) -> tuple[Any, ...]:
    v = mu * v + rate * (g + decay * x if decay else g)
    return x - v, v


def lamb_(
    value: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    adapt: bool,
    maximize: bool = False,
) -> None:
    """x ← x - lr ‖x‖ / ‖u‖ u with u = m̂ / (√v̂ + ε) + λ x."""
    b1, b2 = betas
    x, u = value.reshape(-1), value.flatten()
    state = (exp_avg.reshape(-1), exp_avg_sq.reshape(-1))
    corrections = (1 / (1 - b1**step), 1 / math.sqrt(1 - b2**step))
    numbers = (1 - b1, b2, 1 - b2, *corrections, eps, weight_decay)
    move_(_direction, u, grad.reshape(-1), state, *numbers, maximize=maximize)
    size, length = norm(x), norm(u)
    mix_(x, 1.0, u, -(lr * size / length if adapt and size > 0 and length > 0 else lr))


def _direction(
    x: Any,
    g: Any,
    m: Any,
    v: Any,
    fresh1: Any,
    beta2: Any,
    fresh2: Any,
    correction1: Any,
    correction2: Any,
    eps: Any,
    decay: Any,
) -> tuple[Any, ...]:
    """Return LAMB's u in the place of x."""
    m = m + fresh1 * (g - m)
    v = beta2 * v + fresh2 * (g * g)
    u = m * correction1 / (np.sqrt(v) * correction2 + eps)
    return u + decay * x if decay else u, m, v
