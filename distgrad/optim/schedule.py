"""Learning-rate schedules: PyTorch's names, as closed forms of the step number.

A schedule's only state is its step and its bases, so a resumed run continues it exactly.
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

from distgrad.autograd.apart import apart
from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError
from distgrad.kinds import Fraction, Steps, number
from distgrad.optim.optimizer import Optimizer
from distgrad.optim.own_state import state_of

T = TypeVar("T")
Factor: TypeAlias = Callable[[int], float]


class LRScheduler:
    """Sets ``lr`` of every group to a function of the step; call ``step()`` every step.

    A schedule defines ``lr(step, base)``, or ``lrs(step, bases)`` where groups differ in more than
    their base: the learning rate that the group began with, its ``initial_lr``. Or it defines
    PyTorch's ``get_lr()``, of ``last_epoch``, ``base_lrs`` and the groups' present rates.
    ``last_epoch`` is the last step done, for one who goes on with a loaded optimizer; -1 begins.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        who = type(self).__name__
        needs_groups(who, optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise ShapeError(
                    f"{who}: last_epoch={last_epoch} goes on with a schedule, but group {i} of the "
                    f"optimizer has no 'initial_lr': load the optimizer's state first, or leave "
                    f"last_epoch out"
                )
        self.base_lrs = [float(g["initial_lr"]) for g in optimizer.param_groups]
        self.last_epoch = last_epoch + 1
        self._apply()

    def lr(self, step: int, base: float) -> float:
        """Return the learning rate at ``step`` (0 is the first) for the base learning rate."""
        raise TypeError(
            f"{type(self).__name__} has no lr(step, base); call lrs(step, bases), or define one of "
            f"the two to put it together with others"
        )

    def lrs(self, step: int, bases: Sequence[float]) -> list[float]:
        """Return the learning rate of each group at ``step``."""
        return [self.lr(step, base) for base in bases]

    def get_lr(self) -> list[float]:
        """Return the learning rate of each group at the present step; see ``get_last_lr``."""
        return self.lrs(self.last_epoch, self.base_lrs)

    def momenta(self, step: int) -> list[float] | None:
        """Return the momentum (or first beta) of each group; None leaves them alone."""
        return None

    @apart
    def step(self, epoch: int | None = None) -> None:
        """Advance by one step, or to ``epoch``, which PyTorch advises against and so warns of."""
        if epoch is not None:
            warnings.warn(
                f"{type(self).__name__}.step(epoch) goes to another step of the schedule; call "
                f"step() once for each step",
                UserWarning,
                stacklevel=2,
            )
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._apply()

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group."""
        return [float(g["lr"]) for g in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the base learning rates."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``. Errors: ShapeError if it has other groups."""
        state_of(type(self).__name__, state, "base_lrs", "last_epoch")
        if len(state["base_lrs"]) != len(self.base_lrs):
            raise ShapeError(
                f"the schedule was saved with {len(state['base_lrs'])} parameter groups, the "
                f"optimizer has {len(self.base_lrs)}; make it with the same groups"
            )
        self.last_epoch = int(state["last_epoch"])
        self.base_lrs = [float(x) for x in state["base_lrs"]]
        self._apply()

    def _apply(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ShapeError(
                f"{type(self).__name__} was made for {len(self.base_lrs)} parameter groups, the "
                f"optimizer has {len(groups)} by now; add groups before making the schedule"
            )
        for group, lr in zip(groups, self.get_lr(), strict=True):
            set_lr(group, lr)
        for group, momentum in zip(groups, self.momenta(self.last_epoch) or [], strict=False):
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


def set_lr(group: dict[str, Any], lr: float) -> None:
    """Let ``group`` have another learning rate; one that is a Tensor is changed in place."""
    if isinstance(group["lr"], Tensor):
        group["lr"].array[...] = lr
    else:
        group["lr"] = lr


def needs_groups(who: str, optimizer: object) -> None:
    """Raise TypeError for what is no optimizer, nor a wrapper of one with its groups."""
    if not hasattr(optimizer, "param_groups"):
        raise TypeError(f"{who} needs an optimizer; got a {type(optimizer).__name__}")


def per_group(optimizer: Optimizer, name: str, given: T | Sequence[T]) -> list[T]:
    """Return one value for each group: those of a sequence, or the same for all."""
    needs_groups("a schedule", optimizer)
    n = len(optimizer.param_groups)
    if not isinstance(given, list | tuple):
        return [given] * n  # type: ignore[list-item]  # a T: sequences are lists or tuples
    if len(given) != n:
        raise ShapeError(f"{name} has {len(given)} values, the optimizer {n} parameter groups")
    return list(given)


class LambdaLR(LRScheduler):
    """lr = base x lr_lambda(step); one function, or one for each group."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1
    ) -> None:
        self.lr_lambdas = per_group(optimizer, "lr_lambda", lr_lambda)
        super().__init__(optimizer, last_epoch)

    def lrs(self, step: int, bases: Sequence[float]) -> list[float]:
        """Return base x lr_lambda(step) for each group."""
        return [b * f(step) for b, f in zip(bases, self.lr_lambdas, strict=True)]


class MultiplicativeLR(LRScheduler):
    """lr = base x lr_lambda(1) x … x lr_lambda(step); one function, or one for each group."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1
    ) -> None:
        self.lr_lambdas = per_group(optimizer, "lr_lambda", lr_lambda)
        self._products = [[1.0] for _ in self.lr_lambdas]  # up to each step, as far as known
        super().__init__(optimizer, last_epoch)

    def lrs(self, step: int, bases: Sequence[float]) -> list[float]:
        """Return base x the product so far for each group."""
        for f, products in zip(self.lr_lambdas, self._products, strict=True):
            while len(products) <= step:
                products.append(products[-1] * f(len(products)))
        return [b * p[step] for b, p in zip(bases, self._products, strict=True)]


class StepLR(LRScheduler):
    """Times ``gamma`` every ``step_size`` steps."""

    def __init__(
        self, optimizer: Optimizer, step_size: Steps, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def lr(self, step: int, base: float) -> float:
        """Return base x gamma ^ (step // step_size)."""
        return base * self.gamma ** (step // self.step_size)


class MultiStepLR(LRScheduler):
    """Times ``gamma`` at every milestone."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def lr(self, step: int, base: float) -> float:
        """Return base x gamma ^ (milestones reached)."""
        return base * self.gamma ** bisect_right(self.milestones, step)


class ConstantLR(LRScheduler):
    """Times ``factor`` until ``total_iters``, then the base."""

    def __init__(
        self,
        optimizer: Optimizer,
        factor: Fraction = 1 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def lr(self, step: int, base: float) -> float:
        """Return base x factor, or the base."""
        return base * self.factor if step < self.total_iters else base


class LinearLR(LRScheduler):
    """From ``start_factor`` to ``end_factor`` in ``total_iters`` steps: the usual warm-up."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: Fraction = 1 / 3,
        end_factor: Fraction = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def lr(self, step: int, base: float) -> float:
        """Return the point on the line, or its end past it."""
        done = min(step / self.total_iters, 1.0) if self.total_iters else 1.0
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class ExponentialLR(LRScheduler):
    """Times ``gamma`` every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr(self, step: int, base: float) -> float:
        """Return base x gamma ^ step."""
        return float(base * self.gamma**step)


class PolynomialLR(LRScheduler):
    """Down to 0 in ``total_iters`` steps, as the ``power`` of what remains."""

    def __init__(
        self, optimizer: Optimizer, total_iters: Steps = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def lr(self, step: int, base: float) -> float:
        """Return base x (1 - step / total_iters) ^ power, 0 past it."""
        left = 1 - min(step, self.total_iters) / self.total_iters
        return float(base * left**self.power)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the base to ``eta_min`` in ``T_max`` steps (Loshchilov & Hutter 2017)."""

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: Annotated[float, number(1)],
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def lr(self, step: int, base: float) -> float:
        """Return the cosine's value; past ``T_max`` it rises again, as in PyTorch."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.T_max))
        return self.eta_min + (base - self.eta_min) * cosine
