"""The Optimizer: PyTorch's groups, settings and state_dict over updates of flat arrays."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np

from distgrad.autograd.mode import enable_grad
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.optim.flat import FlatParameters, SeparateParameters, State

Group = dict[str, Any]
Params: TypeAlias = (
    "Tensor | Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Mapping[str, Any]]"
)
Loss = TypeVar("Loss")

# Settings of PyTorch's that do not change the numbers, AdamW's name for what it is, and what
# PyTorch's schedules leave behind in the groups.
_HOW = {
    *("foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay"),
    *("initial_lr", "max_lr", "min_lr", "swa_lr", "max_momentum", "base_momentum", "param_names"),
}


class Optimizer(ABC):
    """Holds parameter groups and their state; a concrete optimizer says how one array moves.

    ``params`` are parameters, (name, parameter) pairs as of ``model.named_parameters()``, or
    groups: mappings with ``params`` and settings of their own. Every optimizer here raises
    ShapeError (a ValueError) for a setting out of its range.
    """

    elementwise: bool = True
    """Whether the update of an element depends on that element alone (so any cut is allowed).

    If not, ``update`` is given one parameter at a time, in its own shape.
    """

    scalars: Mapping[str, float] = {}
    """Numbers that are a parameter's state besides its arrays, and what they start from."""

    def __init__(self, params: Params, defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        given = _listed(params)
        if not given:
            raise ShapeError(f"{type(self).__name__} got no parameters; pass model.parameters()")
        self.param_groups: list[Group] = []
        self._stores: list[FlatParameters | SeparateParameters] = []
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)

    @abstractmethod
    def state_names(self, group: Group) -> list[str]:
        """Return the names of the state arrays the group needs."""

    @abstractmethod
    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Move ``value`` in place; it is 1-D if the update is elementwise. ``step`` is from 1."""

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of a state array of a parameter of ``shape``; None if it has none.

        Only updates that are not elementwise may have state of another shape.
        """
        return shape

    def check(self, group: Group) -> None:
        """Refuse settings out of their range (those whose names mean the same everywhere)."""
        for name in ("lr", "momentum", "weight_decay", "eps"):
            self.within(group, name)
        for beta in group.get("betas", ()):
            if not 0 <= beta < 1:
                raise ShapeError(
                    f"{type(self).__name__}: betas={tuple(group['betas'])} must lie in [0, 1)"
                )

    def within(self, group: Group, name: str, low: float = 0.0, high: float = math.inf) -> None:
        """Refuse a setting with a number outside [low, high], unless the group has none such."""
        found = group.get(name)
        for number in found if isinstance(found, tuple | list) else (found,):
            if number is not None and not low <= number <= high:
                raise ShapeError(
                    f"{type(self).__name__}: {name}={found} must lie in [{low:g}, {high:g}]"
                )

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Train the parameters of ``param_group["params"]`` too, by the group's settings.

        Errors: ShapeError for settings that do not exist, or a parameter that is already trained.
        """
        params, names = _split(_listed(param_group["params"]), type(self).__name__)
        unknown = set(param_group) - set(self.defaults) - {"params", "param_names"}
        if unknown:
            raise ShapeError(f"{type(self).__name__} has no setting {sorted(unknown)}")
        counted = [id(p) for g in [*self.param_groups, {"params": params}] for p in g["params"]]
        if len(counted) != len(set(counted)):
            raise ShapeError("a parameter is in two groups; name each parameter once")
        group = {**self.defaults, **param_group, "params": params}
        if names:
            group["param_names"] = names
        self.check(group)
        # Frozen parameters too: they have no gradient, are skipped, and may be unfrozen later.
        state_names = self.state_names(group)
        store: FlatParameters | SeparateParameters
        if self.elementwise:
            store = FlatParameters(params, state_names, self.scalars)
        else:
            store = SeparateParameters(params, state_names, self.scalars, self.state_shape)
        self.param_groups.append(group)
        self._stores.append(store)

    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        """Move every parameter that has a gradient.

        ``closure``, if given, is called first: it computes the gradients and returns the loss,
        which is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group, store in zip(self.param_groups, self._stores, strict=True):
            store.names = self.state_names(group)  # momentum may have been turned on since
            store.update(partial(self._move, group=group))
        for listener in {p._listener for g in self.param_groups for p in g["params"][:1]}:
            if listener is not None:
                listener.optimizer_stepped(self)
        return loss

    def _move(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        self.update(value, -grad if group.get("maximize") else grad, state, step, group)

    def settings(self, group: Group, *without: str) -> dict[str, Any]:
        """Return the group's settings as the update function's keywords."""
        left_out = {"maximize", *without}
        return {k: group[k] for k in self.defaults if k not in left_out}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters: they become None, or else zeros in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.array[...] = 0

    # -- state --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return PyTorch's layout: ``state`` by parameter number, ``param_groups`` with numbers."""
        state: dict[int, dict[str, Any]] = {}
        groups = []
        number = 0
        for group, store in zip(self.param_groups, self._stores, strict=True):
            members = list(range(number, number + len(group["params"])))
            for i, n in enumerate(members):
                if store.steps[i]:
                    state[n] = {"step": store.steps[i], **store.scalars[i], **store.state_of(i)}
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
        pairs = [(g, p.shape) for g in settings for p in g["params"]]
        for n, (entry, (group, shape)) in enumerate(zip(entries, pairs, strict=True)):
            self._check_entry(n, entry, group, shape)
        number = 0
        for group, new, store in zip(self.param_groups, settings, self._stores, strict=True):
            group.update(new)
            store.names = self.state_names(group)
            for i in range(len(store.params)):
                entry = entries[number]
                # PyTorch's SGD keeps no step: that it has an entry says it has taken one.
                store.steps[i] = int(entry.get("step", 1)) if entry else 0
                for name, first in self.scalars.items():
                    store.scalars[i][name] = float(entry[name]) if entry else first
                for name, view in store.state_of(i).items():
                    view[...] = np.asarray(entry[name]) if entry else 0
                number += 1

    def _known(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that exist here; the others must be off or say how, not what."""
        own = set(self.defaults)
        foreign = sorted(k for k, v in saved.items() if v and k not in own | _HOW | {"params"})
        if foreign:
            raise ShapeError(
                f"{type(self).__name__} has no setting {foreign}, which the state was saved with"
            )
        return {k: v for k, v in saved.items() if k in own}

    def _check_entry(
        self, number: int, entry: Mapping[str, Any] | None, group: Group, shape: tuple[int, ...]
    ) -> None:
        if not entry:
            return
        wanted = {name: self.state_shape(name, shape) for name in self.state_names(group)}
        wanted |= dict.fromkeys(self.scalars, ())
        for name, its_shape in wanted.items():
            if its_shape is None:
                continue
            if entry.get(name) is None:
                raise ShapeError(
                    f"the state has no '{name}' of parameter {number}; it has {[*entry]}"
                )
            if np.shape(entry[name]) != its_shape:
                raise ShapeError(
                    f"'{name}' of parameter {number} has shape {np.shape(entry[name])} in the "
                    f"state and {its_shape} here"
                )


def decayed(grad: Array, value: Array, weight_decay: float) -> Array:
    """Return the gradient of the loss with an L2 penalty: g + λ θ."""
    return grad + weight_decay * value if weight_decay else grad


def _listed(params: Any) -> list[Any]:
    # A lone tensor is one parameter, not the list of its rows.
    return [params] if isinstance(params, Tensor) else list(params)


def _split(given: list[Any], who: str) -> tuple[list[Tensor], list[str]]:
    """Return the parameters, and their names if they came as (name, parameter)."""
    pairs = [x for x in given if isinstance(x, tuple)]
    if pairs and len(pairs) != len(given):
        raise ShapeError(f"{who}: give names to all parameters of a group or to none")
    params = [x[1] for x in pairs] if pairs else given
    for p in params:
        if not isinstance(p, Tensor):
            raise ShapeError(f"{who} trains Tensors; got a {type(p).__name__}")
    return params, [x[0] for x in pairs]
