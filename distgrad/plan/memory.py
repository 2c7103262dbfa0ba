"""Bytes a rank holds: parameters, gradients and optimizer state, by strategy.

Rajbhandari et al. 2020 (ZeRO), table 1, for float32; inside a node ``zero`` keeps parameters once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from distgrad import optim
from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError
from distgrad.plan.profile import Profile


@dataclass(frozen=True)
class Memory:
    """Bytes a rank; of what a node's ranks hold together, its share."""

    parameters: float
    gradients: float
    state: float
    working: float
    """Buckets that are there for a while: gathered parameters, sums under way."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.parameters + self.gradients + self.state + self.working


def memory(
    profile: Profile, nodes: int, ranks_per_node: int, *, zero: int = 0, elements: float = 2.0
) -> Memory:
    """Return what a rank holds between and in steps, activations left out.

    ``elements`` of optimizer state a parameter: ``state_elements``.
    """
    n, ranks = float(profile.nbytes), nodes * ranks_per_node
    largest = float(max(bucket.nbytes for bucket in profile.buckets))
    if not zero:
        return Memory(n, n, elements * n, 0.0)
    # Gradients of two buckets at a time, of which one is being summed; the parameters of the one
    # in use, once a node, where its other parts are on other nodes.
    buckets = 0.0 if ranks == 1 or zero == 1 else 2.0
    if zero == 3 and nodes > 1:
        buckets += 1 / ranks_per_node
    return Memory(
        parameters=n / ranks if zero == 3 else n / ranks_per_node,
        gradients=n if zero == 1 else n / ranks,
        state=elements * n / ranks,
        working=min(2 * n, buckets * largest),
    )


def state_elements(optimizer: str) -> float:
    """Return how many numbers ``dg.optim``'s optimizer keeps per parameter, by a step of it.

    Errors: ShapeError for a name that is none.
    """
    found = getattr(optim, optimizer, None)
    known = [n for n in dir(optim) if _has_update(getattr(optim, n))]
    if optimizer not in known:
        why = "has a step of its own" if _is_optimizer(found) else "is no optimizer"
        raise ShapeError(f"'{optimizer}' {why}; a plan can be made for {', '.join(known)}")
    p = Tensor(np.ones((64, 64), np.float32), requires_grad=True)
    p.grad = Tensor(np.ones((64, 64), np.float32))
    made = cast("Callable[..., optim.Optimizer]", found)([p])
    made.step()
    state = made.state_dict()["state"].get(0, {})
    return sum(a.size for a in state.values() if isinstance(a, np.ndarray)) / p.size


def _is_optimizer(value: object) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, optim.Optimizer)
        and value is not optim.Optimizer
    )


def _has_update(value: object) -> bool:
    """Whether it is an optimizer that says how an array moves, and has no ``step`` of its own."""
    return _is_optimizer(value) and getattr(value, "update", None) is not optim.Optimizer.update
