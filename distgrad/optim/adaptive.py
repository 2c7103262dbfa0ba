"""A rate for every element, from the squares of its gradients: Adagrad, Adadelta, RMSprop."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kinds import Fraction, NonNegative
from distgrad.optim.optimizer import (
    Group,
    Number,
    Optimizer,
    Params,
    refuse_differentiable,
)
from distgrad.optim.run import State
from distgrad.optim.update import Formula, move_


class Adagrad(Optimizer):
    """Rates that fall with the sum of squared gradients (Duchi et al. 2011), PyTorch's form."""

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-2,
        lr_decay: NonNegative = 0.0,
        weight_decay: NonNegative = 0.0,
        initial_accumulator_value: NonNegative = 0.0,
        eps: NonNegative = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        refuse_differentiable("Adagrad", differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the sum's name."""
        return ["sum"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``adagrad_``."""
        if step == 1:
            state["sum"].fill(group["initial_accumulator_value"])
        settings = self.settings(group, "initial_accumulator_value")
        adagrad_(value, grad, state["sum"], step=step, **settings)

    def state_dict(self) -> dict[str, Any]:
        """Return PyTorch's layout, in which untouched parameters have a sum, too."""
        found = super().state_dict()
        for group, numbers in zip(self.param_groups, found["param_groups"], strict=True):
            for p, n in zip(group["params"], numbers["params"], strict=True):
                total = np.full(p.shape, group["initial_accumulator_value"], p.dtype)
                found["state"].setdefault(n, {"step": 0, "sum": total})
        return found


class Adadelta(Optimizer):
    """Steps in the parameter's own units (Zeiler 2012), PyTorch's form."""

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: Number = 1.0,
        rho: Fraction = 0.9,
        eps: NonNegative = 1e-6,
        weight_decay: NonNegative = 0.0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse_differentiable("Adadelta", differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the names of the mean squares of gradients and of steps."""
        return ["square_avg", "acc_delta"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``adadelta_``."""
        adadelta_(value, grad, state["square_avg"], state["acc_delta"], **self.settings(group))


class RMSprop(Optimizer):
    """Gradients over their root mean square (Tieleman & Hinton 2012), PyTorch's form.

    ``centered`` divides by their standard deviation instead (Graves 2013).
    """

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-2,
        alpha: NonNegative = 0.99,
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        momentum: NonNegative = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse_differentiable("RMSprop", differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the mean square's name, and those of momentum and mean if they are wanted."""
        momentum = ["momentum_buffer"] if group["momentum"] else []
        return ["square_avg", *momentum, *(["grad_avg"] if group["centered"] else [])]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``rmsprop_``."""
        arrays = (state["square_avg"], state.get("momentum_buffer"), state.get("grad_avg"))
        rmsprop_(value, grad, *arrays, **self.settings(group, "centered"))


def adagrad_(
    value: Array,
    grad: Array,
    total: Array,
    *,
    step: int,
    lr: float,
    lr_decay: float,
    eps: float,
    weight_decay: float,
    maximize: bool = False,
) -> None:
    """θ ← θ - lrₜ g / (√Σg² + ε) with lrₜ = lr / (1 + (t - 1) decay)."""

    def numbers(step: int) -> tuple[float, ...]:
        return weight_decay, eps, lr / (1 + (step - 1) * lr_decay)

    move_(_adagrad, value, grad, (total,), *numbers(step), maximize=maximize, later=numbers)


def _adagrad(x: Any, g: Any, total: Any, decay: Any, eps: Any, rate: Any) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    total = total + g * g
    return x - rate * (g / (np.sqrt(total) + eps)), total


def adadelta_(
    value: Array,
    grad: Array,
    square_avg: Array,
    acc_delta: Array,
    *,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
    maximize: bool = False,
) -> None:
    """θ ← θ - lr Δ with Δ = RMS(Δ before) / RMS(g) g."""
    numbers = (weight_decay, rho, 1 - rho, eps, lr)
    state = (square_avg, acc_delta)
    move_(_adadelta, value, grad, state, *numbers, maximize=maximize, later=lambda _: numbers)


def _adadelta(
    x: Any, g: Any, v: Any, u: Any, decay: Any, rho: Any, fresh: Any, eps: Any, lr: Any
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    v = rho * v + fresh * (g * g)
    delta = np.sqrt(u + eps) / np.sqrt(v + eps) * g
    return x - lr * delta, v, rho * u + fresh * (delta * delta)


def rmsprop_(
    value: Array,
    grad: Array,
    square_avg: Array,
    buffer: Array | None,
    grad_avg: Array | None,
    *,
    lr: float,
    momentum: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    maximize: bool = False,
) -> None:
    """θ ← θ - lr b with b ← μ b + g / (√E[g²] + ε), or the standard deviation below it."""
    formula = _RMSPROP[buffer is not None, grad_avg is not None]
    state = tuple(a for a in (square_avg, buffer, grad_avg) if a is not None)
    numbers = (weight_decay, alpha, 1 - alpha, eps, lr, momentum, 0.0)
    move_(formula, value, grad, state, *numbers, maximize=maximize, later=lambda _: numbers)


def _plain(
    x: Any,
    g: Any,
    v: Any,
    decay: Any,
    alpha: Any,
    fresh: Any,
    eps: Any,
    lr: Any,
    mu: Any,
    zero: Any,
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    v = alpha * v + fresh * (g * g)
    return x - lr * (g / (np.sqrt(v) + eps)), v


def _with_momentum(
    x: Any,
    g: Any,
    v: Any,
    b: Any,
    decay: Any,
    alpha: Any,
    fresh: Any,
    eps: Any,
    lr: Any,
    mu: Any,
    zero: Any,
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    v = alpha * v + fresh * (g * g)
    b = mu * b + g / (np.sqrt(v) + eps)
    return x - lr * b, v, b


def _centered(
    x: Any,
    g: Any,
    v: Any,
    mean: Any,
    decay: Any,
    alpha: Any,
    fresh: Any,
    eps: Any,
    lr: Any,
    mu: Any,
    zero: Any,
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    v = alpha * v + fresh * (g * g)
    mean = mean + fresh * (g - mean)
    # Of gradients that hardly change, rounding leaves a variance just below 0.
    variance = np.maximum(v - mean * mean, zero)
    return x - lr * (g / (np.sqrt(variance) + eps)), v, mean


def _centered_with_momentum(
    x: Any,
    g: Any,
    v: Any,
    b: Any,
    mean: Any,
    decay: Any,
    alpha: Any,
    fresh: Any,
    eps: Any,
    lr: Any,
    mu: Any,
    zero: Any,
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    v = alpha * v + fresh * (g * g)
    mean = mean + fresh * (g - mean)
    b = mu * b + g / (np.sqrt(np.maximum(v - mean * mean, zero)) + eps)
    return x - lr * b, v, b, mean


_RMSPROP: dict[tuple[bool, bool], Formula] = {
    (False, False): _plain,
    (True, False): _with_momentum,
    (False, True): _centered,
    (True, True): _centered_with_momentum,
}
"""By whether there is momentum, and whether the mean is subtracted."""
