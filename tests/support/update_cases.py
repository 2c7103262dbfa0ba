"""Settings of the optimizers that move flat arrays by formulas, and every formula that there is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from itertools import pairwise
from typing import Any

import numpy as np
from optimizer_cases import ELEMENTWISE

from distgrad import optim

MORE: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("ASGD", {"t0": 1e6}),
    ("Adam", {}),
    ("AdamW", {"weight_decay": 0.0}),
    ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1, "betas": (0.9, 0.5)}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True}),
    ("Lion", {}),
]
CASES = [*ELEMENTWISE.items(), *((n, {**s, "maximize": True}) for n, s in ELEMENTWISE.items())]
CASES += MORE
IDS = [f"{name} {', '.join(settings)}" for name, settings in CASES]


def make(name: str, settings: dict[str, Any]) -> optim.Optimizer:
    """Return an optimizer whose ``update`` is asked for."""
    kind = getattr(optim, name)
    optimizer: optim.Optimizer = kind([_parameter()], **{"lr": 0.1, **settings})
    return optimizer


def _parameter() -> Any:
    """Return what an optimizer needs to be made."""
    return importlib.import_module("distgrad.nn").Parameter(np.zeros(1))


def run(
    optimizer: optim.Optimizer, arrays: dict[str, Any], grads: list[Any], cuts: list[int]
) -> dict[str, Any]:
    """Return what becomes of ``arrays`` (value and state), moved in the pieces between cuts."""
    group = optimizer.param_groups[0]
    moved = {k: a.copy() for k, a in arrays.items()}
    scalars = dict(optimizer.scalars)
    borders = [0, *cuts, moved["value"].size]
    for step, grad in enumerate(grads, 1):
        after = scalars
        for start, stop in pairwise(borders):
            views = {k: a[start:stop] for k, a in moved.items()}
            state = {k: v for k, v in views.items() if k != "value"} | scalars
            optimizer.update(views["value"], grad[start:stop], state, step, group)
            after = {k: state[k] for k in scalars}
        scalars = after
    return moved | scalars


def given(
    optimizer: optim.Optimizer, size: int, dtype: Any, steps: int = 4
) -> tuple[dict[str, Any], list[Any]]:
    """Return value and state to begin with, and a gradient for each step."""
    rng = np.random.default_rng(size)
    names = optimizer.state_names(optimizer.param_groups[0])
    arrays = {"value": rng.normal(size=size).astype(dtype)}
    arrays |= {name: np.zeros(size, dtype) for name in names}
    return arrays, [rng.normal(size=size).astype(dtype) for _ in range(steps)]


def formulas() -> set[Any]:
    """Return every formula of distgrad.optim: a function of an element x and its gradient g."""
    found = set()
    for module in pkgutil.iter_modules(optim.__path__, "distgrad.optim."):
        for kind in vars(importlib.import_module(module.name)).values():
            if inspect.isfunction(kind) and [*inspect.signature(kind).parameters][:2] == ["x", "g"]:
                found.add(kind)
    return found
