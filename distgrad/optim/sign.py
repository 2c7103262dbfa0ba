"""Only the sign counts: Lion (of momentum) and Rprop (of the gradient)."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.optim.flat import State
from distgrad.optim.optimizer import (
    Group,
    Number,
    Optimizer,
    Params,
    decayed,
    refuse_differentiable,
)


class Lion(Optimizer):
    """Evolved sign momentum (Chen et al. 2023).

    Every element moves by ``lr``: take 3 to 10 times less than for AdamW, and as many times more
    ``weight_decay`` (decoupled).
    """

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
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
        """Refuse settings out of their range."""
        super().check(group)
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
) -> None:
    """θ ← θ - lr (sign(β₁ m + (1 - β₁) g) + λ θ), then m ← β₂ m + (1 - β₂) g."""
    b1, b2 = betas
    c = np.sign(b1 * exp_avg + (1 - b1) * grad)
    value -= lr * decayed(c, value, weight_decay)
    exp_avg *= b2
    exp_avg += (1 - b2) * grad


def rprop_(
    value: Array,
    grad: Array,
    prev: Array,
    step_size: Array,
    *,
    etas: tuple[float, float],
    step_sizes: tuple[float, float],
) -> None:
    """θ ← θ - Δ sign(g); Δ grows while the sign stays, and shrinks, with no step, as it turns."""
    shrink, grow = etas
    turned = np.sign(grad) * np.sign(prev)
    step_size[turned > 0] *= grow
    step_size[turned < 0] *= shrink
    np.clip(step_size, *step_sizes, out=step_size)
    prev[...] = grad
    prev[turned < 0] = 0
    value -= np.sign(prev) * step_size
