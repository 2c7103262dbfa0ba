"""Optimizers: PyTorch's names, settings and state_dict over update functions on flat arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Array, Tensor
from distgrad.errors import ShapeError
from distgrad.optim.flat import FlatParameters, State
from distgrad.optim.update import adamw_, sgd_

Group = dict[str, Any]

# Settings of PyTorch's that do not change the numbers, and AdamW's name for what it is.
_HOW = {
    *("foreach", "fused", "capturable", "differentiable"),
    *("decoupled_weight_decay", "initial_lr"),
}


class Optimizer(ABC):
    """Holds parameter groups and their state; a concrete optimizer says how one array moves."""

    elementwise: bool = True
    """Whether the update of an element depends on that element alone (so any cut is allowed)."""

    def __init__(
        self, params: Iterable[Tensor] | Iterable[Mapping[str, Any]], defaults: Mapping[str, Any]
    ) -> None:
        given = _listed(params)
        if not given:
            raise ShapeError(f"{type(self).__name__} got no parameters; pass model.parameters()")
        groups = given if isinstance(given[0], Mapping) else [{"params": given}]
        self.param_groups: list[Group] = []
        self._flat: list[FlatParameters] = []
        for group in groups:
            settings = {**defaults, **group, "params": _listed(group["params"])}
            unknown = set(group) - set(defaults) - {"params"}
            if unknown:
                raise ShapeError(f"{type(self).__name__} has no setting {sorted(unknown)}")
            self.param_groups.append(settings)
            # Frozen ones too: they have no gradient, are skipped, and may be unfrozen later.
            self._flat.append(FlatParameters(settings["params"], self.state_names(settings)))
        counted = [id(p) for g in self.param_groups for p in g["params"]]
        if len(counted) != len(set(counted)):
            raise ShapeError("a parameter is in two groups; name each parameter once")

    @abstractmethod
    def state_names(self, group: Group) -> list[str]:
        """Return the names of the state arrays the group needs."""

    @abstractmethod
    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Move ``value`` (1-D) in place; ``step`` counts from 1."""

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group, flat in zip(self.param_groups, self._flat, strict=True):
            flat.names = self.state_names(group)  # momentum may have been turned on since
            flat.update(partial(self.update, group=group))

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters (they become None)."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return PyTorch's layout: ``state`` by parameter number, ``param_groups`` with numbers."""
        state: dict[int, dict[str, Any]] = {}
        groups = []
        number = 0
        for group, flat in zip(self.param_groups, self._flat, strict=True):
            members = list(range(number, number + len(group["params"])))
            for i, n in enumerate(members):
                if flat.steps[i]:
                    state[n] = {"step": flat.steps[i], **flat.state_of(i)}
            number += len(members)
            settings = {k: v for k, v in group.items() if k != "params"}
            groups.append({**settings, "params": members})
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a ``state_dict``, this optimizer's or that of PyTorch's of the same name.

        Everything is checked before anything is changed. Errors: ShapeError naming the parameter
        that does not fit, or a setting that does not exist here.
        """
        groups = state_dict["param_groups"]
        sizes = [len(g["params"]) for g in groups]
        own = [len(g["params"]) for g in self.param_groups]
        if sizes != own:
            raise ShapeError(
                f"the optimizer has groups of {own} parameters, the state {sizes}; "
                f"it belongs to another model or other groups"
            )
        state = {int(k): v for k, v in state_dict["state"].items()}
        settings = [
            {**group, **self._known(saved)}
            for group, saved in zip(self.param_groups, groups, strict=True)
        ]
        entries = [state.get(n) for n in range(sum(sizes))]
        shapes = [p.shape for g in settings for p in g["params"]]
        names = [self.state_names(g) for g in settings for _ in g["params"]]
        for n, (entry, shape, wanted) in enumerate(zip(entries, shapes, names, strict=True)):
            _check_entry(n, entry, shape, wanted)
        number = 0
        for group, new, flat in zip(self.param_groups, settings, self._flat, strict=True):
            group.update(new)
            flat.names = self.state_names(group)
            for i in range(len(flat.params)):
                entry = entries[number]
                # PyTorch's SGD keeps no step: that it has an entry says it has taken one.
                flat.steps[i] = int(entry.get("step", 1)) if entry else 0
                for name, view in flat.state_of(i).items():
                    view[...] = np.asarray(entry[name]) if entry else 0
                number += 1

    def _known(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that exist here; the others must be off or say how, not what."""
        own = set(self.param_groups[0]) - {"params"}
        foreign = sorted(k for k, v in saved.items() if v and k not in own | _HOW | {"params"})
        if foreign:
            raise ShapeError(
                f"{type(self).__name__} has no setting {foreign}, which the state was saved with"
            )
        return {k: v for k, v in saved.items() if k in own}


def _listed(params: Any) -> list[Any]:
    # A lone tensor is one parameter, not the list of its rows.
    return [params] if isinstance(params, Tensor) else list(params)


def _check_entry(
    number: int, entry: Mapping[str, Any] | None, shape: tuple[int, ...], names: list[str]
) -> None:
    if not entry:
        return
    for name in names:
        if entry.get(name) is None:
            raise ShapeError(f"the state has no '{name}' of parameter {number}; it has {[*entry]}")
        if np.shape(entry[name]) != shape:
            raise ShapeError(
                f"'{name}' of parameter {number} has shape {np.shape(entry[name])} in the state "
                f"and {shape} here"
            )


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al. 2013), PyTorch's form."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ShapeError("SGD: nesterov needs momentum > 0 and dampening = 0")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the momentum buffer's name, if there is momentum."""
        return ["momentum_buffer"] if group["momentum"] else []

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``sgd_``."""
        sgd_(
            value,
            grad,
            state.get("momentum_buffer"),
            first=step == 1,
            lr=group["lr"],
            momentum=group["momentum"],
            dampening=group["dampening"],
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
        )


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), PyTorch's form."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the two moments' names."""
        return ["exp_avg", "exp_avg_sq"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``adamw_``."""
        beta1, beta2 = group["betas"]
        adamw_(
            value,
            grad,
            state["exp_avg"],
            state["exp_avg_sq"],
            step=step,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
        )
