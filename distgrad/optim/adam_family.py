"""What was made of Adam: NAdam, RAdam, Adamax and SparseAdam."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kinds import NonNegative
from distgrad.optim.optimizer import (
    Betas,
    Group,
    Number,
    Optimizer,
    Params,
    refuse_differentiable,
)
from distgrad.optim.run import State
from distgrad.optim.update import decays, move_


class NAdam(Optimizer):
    """Adam with Nesterov momentum (Dozat 2016), PyTorch's form."""

    maximizes = True
    scalars = MappingProxyType({"mu_product": 1.0})

    def __init__(
        self,
        params: Params,
        lr: Number = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        momentum_decay: NonNegative = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse_differentiable("NAdam", differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the two moments' names."""
        return ["exp_avg", "exp_avg_sq"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``nadam_``; the product of the momenta so far is a number of the state."""
        arrays = (value, grad, state["exp_avg"], state["exp_avg_sq"])
        product = state["mu_product"]
        state["mu_product"] = nadam_(*arrays, product, step=step, **self.settings(group))


class RAdam(Optimizer):
    """Adam that waits for its second moment (Liu et al. 2020), PyTorch's form."""

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse_differentiable("RAdam", differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the two moments' names."""
        return ["exp_avg", "exp_avg_sq"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``radam_``."""
        arrays = (value, grad, state["exp_avg"], state["exp_avg_sq"])
        radam_(*arrays, step=step, **self.settings(group))


class Adamax(Optimizer):
    """Adam with the infinity norm (Kingma & Ba 2015, §7.1), PyTorch's form."""

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: Number = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        refuse_differentiable("Adamax", differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the names of the mean and of the largest gradient."""
        return ["exp_avg", "exp_inf"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``adamax_``."""
        arrays = (value, grad, state["exp_avg"], state["exp_inf"])
        adamax_(*arrays, step=step, **self.settings(group))


class SparseAdam(Optimizer):
    """Adam that moves only the rows (along the first axis) that have a gradient, PyTorch's form.

    For embeddings of which a batch uses few rows. Gradients here are dense arrays: a row whose
    gradient is zero throughout is taken for absent, and neither it nor its moments move.
    """

    elementwise = False
    trains_complex = False

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": tuple(betas), "eps": eps, "maximize": maximize}
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the two moments' names."""
        return ["exp_avg", "exp_avg_sq"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``sparse_adam_``."""
        arrays = (value, grad, state["exp_avg"], state["exp_avg_sq"])
        sparse_adam_(*arrays, step=step, **self.settings(group))


def nadam_(
    value: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    mu_product: float,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    momentum_decay: float,
    decoupled_weight_decay: bool,
    maximize: bool = False,
) -> float:
    """Adam with momentum μₜ = β₁ (1 - ½ 0.96^(t ψ)), one step ahead; returns μ₁ … μₜ."""
    b1, b2 = betas
    mu = b1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))
    ahead = b1 * (1 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
    mu_product *= mu
    numbers = (*decays(lr, weight_decay, decoupled_weight_decay), 1 - b1, b2, 1 - b2)
    rates = (lr * (1 - mu) / (1 - mu_product), lr * ahead / (1 - mu_product * ahead))
    more = (1 / (1 - b2**step), eps, *rates)
    move_(_nadam, value, grad, (exp_avg, exp_avg_sq), *numbers, *more, maximize=maximize)
    return mu_product


def _nadam(
    x: Any,
    g: Any,
    m: Any,
    v: Any,
    keep: Any,
    decay: Any,
    fresh1: Any,
    beta2: Any,
    fresh2: Any,
    correction: Any,
    eps: Any,
    rate_of_g: Any,
    rate_of_m: Any,
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    m = m + fresh1 * (g - m)
    v = beta2 * v + fresh2 * (g * g)
    return keep * x - (rate_of_g * g + rate_of_m * m) / (np.sqrt(v * correction) + eps), m, v


def radam_(
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
    decoupled_weight_decay: bool,
    maximize: bool = False,
) -> None:
    """Adam's step times r(ρₜ) where the second moment is known well (ρₜ > 5), else momentum's."""
    b1, b2 = betas
    fixed = (*decays(lr, weight_decay, decoupled_weight_decay), 1 - b1, b2, 1 - b2, eps)

    def numbers(step: int) -> tuple[float, ...]:
        rate = lr / (1 - b1**step)
        rho_inf = 2 / (1 - b2) - 1
        rho = rho_inf - 2 * step * b2**step / (1 - b2**step)
        is_known = rho > 5
        if is_known:
            r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            rate *= r * math.sqrt(1 - b2**step)
        return (*fixed, rate, is_known)

    state = (exp_avg, exp_avg_sq)
    move_(_radam, value, grad, state, *numbers(step), maximize=maximize, later=numbers)


def _radam(
    x: Any,
    g: Any,
    m: Any,
    v: Any,
    keep: Any,
    decay: Any,
    fresh1: Any,
    beta2: Any,
    fresh2: Any,
    eps: Any,
    rate: Any,
    is_known: Any,
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    m = m + fresh1 * (g - m)
    v = beta2 * v + fresh2 * (g * g)
    return keep * x - rate * (m / (np.sqrt(v) + eps) if is_known else m), m, v


def adamax_(
    value: Array,
    grad: Array,
    exp_avg: Array,
    exp_inf: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    maximize: bool = False,
) -> None:
    """θ ← θ - lr m̂ / u with u ← max(β₂ u, |g| + ε)."""
    b1, b2 = betas

    def numbers(step: int) -> tuple[float, ...]:
        return weight_decay, 1 - b1, b2, eps, lr / (1 - b1**step)

    state = (exp_avg, exp_inf)
    move_(_adamax, value, grad, state, *numbers(step), maximize=maximize, later=numbers)


def _adamax(
    x: Any, g: Any, m: Any, u: Any, decay: Any, fresh: Any, beta2: Any, eps: Any, rate: Any
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    m = m + fresh * (g - m)
    u = np.maximum(beta2 * u, np.abs(g) + eps)
    return x - rate * (m / u), m, u


def sparse_adam_(
    value: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Adam's step of the rows that have a gradient; ε stands beside √v, not √v̂."""
    b1, b2 = betas
    rows: Any = _having_any(grad) if grad.ndim else grad != 0
    g = grad[rows]
    m = exp_avg[rows] + (1 - b1) * (g - exp_avg[rows])
    v = exp_avg_sq[rows] + (1 - b2) * (g * g - exp_avg_sq[rows])
    exp_avg[rows], exp_avg_sq[rows] = m, v
    value[rows] -= lr * math.sqrt(1 - b2**step) / (1 - b1**step) * (m / (np.sqrt(v) + eps))


def _having_any(a: Array) -> Array:
    """Say of each row (along the first axis) whether an element is not zero; NaN is not."""
    # The bits of all elements together, in one pass and half the time of comparing them.
    bits = np.bitwise_or.reduce(a.view(f"u{a.itemsize}"), axis=tuple(range(1, a.ndim)))
    having: Array = bits << 1 != 0  # the sign is shifted out: -0 is a zero
    return having
