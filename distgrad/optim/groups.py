"""What may be given for an optimizer's parameters: Tensors, or names with them."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError


def listed(params: Any, who: str) -> list[Any]:
    """Return a group's parameters as a list. Errors: TypeError for a set, which has no order."""
    if isinstance(params, set | frozenset):
        raise TypeError(
            f"{who} got a set of parameters, whose order differs from run to run and from rank to "
            f"rank; pass a list"
        )
    # A lone tensor is one parameter, not the list of its rows.
    return [params] if isinstance(params, Tensor) else list(params)


def of_an_optimizer(group: Any, params: list[Tensor]) -> bool:
    """Whether a group is one of an optimizer that moves its parameters."""
    movers = [m.optimizer() for p in params for m in getattr(p, "_movers", ())]
    return any(group is g for other in movers if other is not None for g in other.param_groups)


def split(given: list[Any], who: str) -> tuple[list[Tensor], list[str]]:
    """Return the parameters, and their names if they came as (name, parameter)."""
    pairs = [x for x in given if isinstance(x, tuple)]
    if pairs and len(pairs) != len(given):
        raise ShapeError(f"{who}: give names to all parameters of a group or to none")
    params = [x[1] for x in pairs] if pairs else given
    for p in params:
        if not isinstance(p, Tensor):
            raise TypeError(f"{who} trains Tensors; got a {type(p).__name__}")
        if not p.is_leaf:
            raise ShapeError(
                f"{who} trains leaves; a tensor of shape {p.shape} is the result of an operation: "
                f"pass what it was computed from"
            )
    return params, [x[0] for x in pairs]
