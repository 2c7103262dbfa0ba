"""Rates by layer for large batches: LARS and LAMB."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.types import Array
from distgrad.optim.flat import State
from distgrad.optim.norms import total_norm
from distgrad.optim.optimizer import Group, Optimizer, Params
from distgrad.optim.update import moments_


class LARS(Optimizer):
    """SGD whose rate is set layer by layer, for large batches (You et al. 2017, algorithm 1).

    A parameter moves by about ``lr * trust_coefficient`` of its own norm. Give biases and norms a
    group of their own with ``adapt=False`` (plain momentum) and ``weight_decay=0``, as is usual.
    A parameter or gradient of norm 0 is not adapted either.
    """

    elementwise = False
    trains_complex = False

    def __init__(
        self,
        params: Params,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 1e-3,
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

    def check(self, group: Group) -> None:
        """Refuse settings out of their range."""
        super().check(group)
        self.within(group, "trust_coefficient")

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

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
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
) -> None:
    """w ← w - v with v ← μ v + lr λ (g + β w) and λ = η ‖w‖ / (‖g‖ + β ‖w‖)."""
    rate = lr
    w, g = total_norm([value]), total_norm([grad])
    if adapt and w > 0 and g > 0:
        rate *= trust_coefficient * w / (g + weight_decay * w)
    buffer *= momentum
    buffer += rate * (grad + weight_decay * value)
    value -= buffer


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
) -> None:
    """x ← x - lr ‖x‖ / ‖u‖ u with u = m̂ / (√v̂ + ε) + λ x."""
    b1, b2 = betas
    moments_(exp_avg, exp_avg_sq, grad, b1, b2)
    u = exp_avg / (1 - b1**step) / (np.sqrt(exp_avg_sq / (1 - b2**step)) + eps)
    u = u + weight_decay * value
    x, length = total_norm([value]), total_norm([u])
    value -= (lr * x / length if adapt and x > 0 and length > 0 else lr) * u
