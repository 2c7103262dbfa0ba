"""Gradient descent: SGD with momentum, and with averaging (ASGD)."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import NonNegative
from distgrad.optim.optimizer import (
    Group,
    Number,
    Optimizer,
    Params,
    refuse_differentiable,
)
from distgrad.optim.run import State
from distgrad.optim.update import move_, sgd_


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al. 2013), PyTorch's form."""

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-3,
        momentum: NonNegative = 0.0,
        dampening: float = 0.0,
        weight_decay: NonNegative = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        refuse_differentiable("SGD", differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check(self, group: Group) -> None:
        """Refuse Nesterov's momentum without momentum."""
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ShapeError("SGD: nesterov needs momentum > 0 and dampening = 0")

    def state_names(self, group: Group) -> list[str]:
        """Return the momentum buffer's name, if there is momentum."""
        return ["momentum_buffer"] if group["momentum"] else []

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``sgd_``."""
        buffer = state.get("momentum_buffer")
        sgd_(value, grad, buffer, first=step == 1, **self.settings(group))


class ASGD(Optimizer):
    """Averaged stochastic gradient descent (Polyak & Juditsky 1992), PyTorch's form.

    The averages, which begin after ``t0`` steps, are the state ``ax``.
    """

    maximizes = True
    scalars = MappingProxyType({"eta": 0.0, "mu": 1.0})

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: NonNegative = 0.0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        refuse_differentiable("ASGD", differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the average's name."""
        return ["ax"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``asgd_``; the rate and the weight of the next step are numbers of the state."""
        lr, lambd = group["lr"], group["lambd"]
        asgd_(
            value,
            grad,
            state["ax"],
            rate=lr if step == 1 else state["eta"],
            weight=state["mu"],
            lambd=lambd,
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )
        state["eta"] = lr / (1 + lambd * lr * step) ** group["alpha"]
        state["mu"] = 1 / max(1.0, step - group["t0"])


def asgd_(
    value: Array,
    grad: Array,
    ax: Array,
    *,
    rate: float,
    weight: float,
    lambd: float,
    weight_decay: float,
    maximize: bool = False,
) -> None:
    """θ ← (1 - λ η) θ - η g, and its average ax ← ax + μ (θ - ax)."""
    numbers = (weight_decay, 1 - lambd * rate, rate, weight, weight == 1)
    move_(_averaged, value, grad, (ax,), *numbers, maximize=maximize)


def _averaged(
    x: Any, g: Any, ax: Any, decay: Any, keep: Any, rate: Any, weight: Any, alone: Any
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    x = keep * x - rate * g
    return x, x if alone else ax + weight * (x - ax)
