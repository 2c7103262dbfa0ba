"""What was made of Adam: NAdam, RAdam, Adamax and SparseAdam."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.optim.flat import State
from distgrad.optim.optimizer import (
    Group,
    Number,
    Optimizer,
    Params,
    decayed,
    refuse_differentiable,
)
from distgrad.optim.update import moments_


class NAdam(Optimizer):
    """Adam with Nesterov momentum (Dozat 2016), PyTorch's form."""

    scalars = MappingProxyType({"mu_product": 1.0})

    def __init__(
        self,
        params: Params,
        lr: Number = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
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

    def check(self, group: Group) -> None:
        """Refuse settings out of their range."""
        super().check(group)
        self.within(group, "momentum_decay")

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

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
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

    def __init__(
        self,
        params: Params,
        lr: Number = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
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
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
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
) -> float:
    """Adam with momentum μₜ = β₁ (1 - ½ 0.96^(t ψ)), one step ahead; returns μ₁ … μₜ."""
    b1, b2 = betas
    g = _decay_(value, grad, lr, weight_decay, decoupled_weight_decay)
    moments_(exp_avg, exp_avg_sq, g, b1, b2)
    mu = b1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))
    ahead = b1 * (1 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
    mu_product *= mu
    denominator = np.sqrt(exp_avg_sq / (1 - b2**step))
    denominator += eps
    value -= lr * (1 - mu) / (1 - mu_product) * (g / denominator)
    value -= lr * ahead / (1 - mu_product * ahead) * (exp_avg / denominator)
    return mu_product


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
) -> None:
    """Adam's step times r(ρₜ) where the second moment is known well (ρₜ > 5), else momentum's."""
    b1, b2 = betas
    g = _decay_(value, grad, lr, weight_decay, decoupled_weight_decay)
    moments_(exp_avg, exp_avg_sq, g, b1, b2)
    rate = lr / (1 - b1**step)
    rho_inf = 2 / (1 - b2) - 1
    rho = rho_inf - 2 * step * b2**step / (1 - b2**step)
    if rho > 5:
        r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
        rate *= r * math.sqrt(1 - b2**step)
        value -= rate * (exp_avg / (np.sqrt(exp_avg_sq) + eps))
    else:
        value -= rate * exp_avg


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
) -> None:
    """θ ← θ - lr m̂ / u with u ← max(β₂ u, |g| + ε)."""
    b1, b2 = betas
    g = decayed(grad, value, weight_decay)
    exp_avg += (1 - b1) * (g - exp_avg)
    exp_inf *= b2
    np.maximum(exp_inf, np.abs(g) + eps, out=exp_inf)
    value -= lr / (1 - b1**step) * (exp_avg / exp_inf)


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
    rows: Any = np.any(grad != 0, axis=tuple(range(1, grad.ndim))) if grad.ndim else grad != 0
    g = grad[rows]
    m = exp_avg[rows] + (1 - b1) * (g - exp_avg[rows])
    v = exp_avg_sq[rows] + (1 - b2) * (g * g - exp_avg_sq[rows])
    exp_avg[rows], exp_avg_sq[rows] = m, v
    value[rows] -= lr * math.sqrt(1 - b2**step) / (1 - b1**step) * (m / (np.sqrt(v) + eps))


def _decay_(value: Array, grad: Array, lr: float, weight_decay: float, decoupled: bool) -> Array:
    """Shrink ``value`` (decoupled decay), or return the gradient with the L2 penalty's."""
    if not decoupled:
        return decayed(grad, value, weight_decay)
    value *= 1 - lr * weight_decay
    return grad
