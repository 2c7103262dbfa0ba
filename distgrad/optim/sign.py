"""Only the sign counts: Lion (of momentum) and Rprop (of the gradient)."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kernels.formula import where
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
from distgrad.optim.update import move_


class Lion(Optimizer):
    """Evolved sign momentum (Chen et al. 2023).

    Every element moves by ``lr``: take 3 to 10 times less than for AdamW, and as many times more
    ``weight_decay`` (decoupled).
    """

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-4,
        betas: Betas = (0.9, 0.99),
        weight_decay: NonNegative = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the momentum's name."""
        return ["exp_avg"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``lion_``."""
        lion_(value, grad, state["exp_avg"], **self.settings(group))


class Rprop(Optimizer):
    """Resilient backpropagation (Riedmiller & Braun 1993), for full batches; PyTorch's form."""

    maximizes = True

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse_differentiable("Rprop", differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": tuple(etas),
                "step_sizes": tuple(step_sizes),
                "maximize": maximize,
            },
        )

    def check(self, group: Group) -> None:
        """Refuse factors on the wrong sides of 1."""
        shrink, grow = group["etas"]
        if not 0 < shrink < 1 < grow:
            raise ShapeError(f"Rprop: etas={(shrink, grow)} must be 0 < shrink < 1 < grow")

    def state_names(self, group: Group) -> list[str]:
        """Return the names of the gradient before and of the steps' sizes."""
        return ["prev", "step_size"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``rprop_``; the first step's size is the learning rate."""
        if step == 1:
            state["step_size"].fill(group["lr"])
        settings = self.settings(group, "lr")
        rprop_(value, grad, state["prev"], state["step_size"], **settings)


def lion_(
    value: Array,
    grad: Array,
    exp_avg: Array,
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    maximize: bool = False,
) -> None:
    """θ ← θ - lr (sign(β₁ m + (1 - β₁) g) + λ θ), then m ← β₂ m + (1 - β₂) g."""
    b1, b2 = betas
    numbers = (b1, 1 - b1, b2, 1 - b2, lr, 1 - lr * weight_decay)
    move_(_lion, value, grad, (exp_avg,), *numbers, maximize=maximize, later=lambda _: numbers)


def _lion(
    x: Any, g: Any, m: Any, beta1: Any, fresh1: Any, beta2: Any, fresh2: Any, lr: Any, keep: Any
) -> tuple[Any, ...]:
    c = np.sign(beta1 * m + fresh1 * g)
    return keep * x - lr * c, beta2 * m + fresh2 * g


def rprop_(
    value: Array,
    grad: Array,
    prev: Array,
    step_size: Array,
    *,
    etas: tuple[float, float],
    step_sizes: tuple[float, float],
    maximize: bool = False,
) -> None:
    """θ ← θ - Δ sign(g); Δ grows while the sign stays, and shrinks, with no step, as it turns."""
    numbers = (*etas, *step_sizes, 0.0, 1.0)
    move_(
        _rprop, value, grad, (prev, step_size), *numbers, maximize=maximize, later=lambda _: numbers
    )


def _rprop(
    x: Any,
    g: Any,
    prev: Any,
    size: Any,
    shrink: Any,
    grow: Any,
    smallest: Any,
    largest: Any,
    zero: Any,
    one: Any,
) -> tuple[Any, ...]:
    # Of the signs: a product of two small gradients may be 0.
    turned = np.sign(g) * np.sign(prev)
    size = size * where(turned > 0, grow, where(turned < 0, shrink, one))
    size = np.minimum(np.maximum(size, smallest), largest)
    prev = where(turned < 0, zero, g)
    return x - np.sign(prev) * size, prev, size
