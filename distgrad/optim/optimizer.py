"""The Optimizer: PyTorch's groups, settings and state_dict over updates of flat arrays.

A subclass says how one array moves (``update``), or writes its own ``step``, as PyTorch's do.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Annotated, Any, TypeAlias, TypeVar

import numpy as np

from distgrad.arguments import kinds_of, refuse
from distgrad.autograd.apart import apart
from distgrad.autograd.layout import Mover
from distgrad.autograd.mode import enable_grad
from distgrad.autograd.parts import clear_
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import GradError, ShapeError
from distgrad.kinds import Kind, number, one_or_several
from distgrad.optim.flat import FlatParameters
from distgrad.optim.groups import listed, of_an_optimizer, split
from distgrad.optim.hooks import Hooked
from distgrad.optim.own_state import StateView, loaded, saved, state_of
from distgrad.optim.run import State
from distgrad.optim.separate import SeparateParameters

Group = dict[str, Any]
Params: TypeAlias = (
    Tensor | Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Mapping[str, Any]]
)


def _also_a_tensor(kind: Kind) -> Kind:
    def holds(value: Any) -> bool:
        if isinstance(value, Tensor):
            return value.array.size == 1 and kind.holds(value.array.item())
        return kind.holds(value)

    return Kind(f"{kind.words} (or a Tensor of one)", holds, (*kind.of, Tensor))


_RATE = _also_a_tensor(number(0))
_BETA = _also_a_tensor(number(0, 1, without=[1]))
# Settings that PyTorch takes as Tensors of one element, too.
Number: TypeAlias = Annotated[float | Tensor, _RATE]
Betas: TypeAlias = tuple[Annotated[float | Tensor, _BETA], Annotated[float | Tensor, _BETA]]
Loss = TypeVar("Loss")

# What schedules leave in the groups.
_SCHEDULES = {"initial_lr", "max_lr", "min_lr", "swa_lr", "max_momentum", "base_momentum"}
# Settings of PyTorch's that do not change the numbers, and what names a group.
_HOW = {"foreach", "fused", "capturable", "differentiable", "param_names", "name"}

# What the settings of one's own optimizers are that do not say it themselves: numbers, or several.
_USUAL = {
    name: one_or_several(kind, gaps=True)._replace(words=kind.words)
    for kind, names in ((_RATE, "lr momentum weight_decay eps"), (_BETA, "betas"))
    for name in names.split()
}


class _Required:
    """A default that every group must give: a class, which copies of an optimizer share."""


required: Any = _Required
"""PyTorch's name for it."""


class Optimizer(Hooked):
    """Holds parameter groups and their state; a concrete optimizer says how one array moves.

    ``params`` are parameters, (name, parameter) pairs as of ``model.named_parameters()``, or
    groups: mappings with ``params`` and settings of their own. Every optimizer here raises
    ShapeError (a ValueError) for a setting out of its range.
    """

    elementwise: bool = True
    """Whether the update of an element depends on that element alone (so any cut is allowed).

    If not, ``update`` is given one parameter at a time, in its own shape.
    """

    trains_complex: bool = True
    """Whether it trains complex parameters, as twice as many real numbers."""

    maximizes: bool = False
    """Whether ``update`` itself follows ``maximize``; else it is given the opposite gradient."""

    _inside = False
    """Whether its step is a part of another's, which tells when the parameters are moved."""

    scalars: Mapping[str, float] = {}
    """Numbers that are a parameter's state besides its arrays, and what they start from."""

    def __init__(self, params: Params, defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        who = type(self).__name__
        if isinstance(params, Tensor):
            raise TypeError(f"{who} takes an iterable of Tensors or groups: write [tensor]")
        if isinstance(params, str | Mapping) or not hasattr(params, "__iter__"):
            raise TypeError(f"{who} takes model.parameters(), or groups of them; got {params!r}")
        given = list(params)
        if not given:
            raise ShapeError(f"{who} got no parameters; pass model.parameters()")
        self.param_groups: list[Group] = []
        self._stores: list[FlatParameters | SeparateParameters] = []
        self._own: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        groups: list[Any] = given if isinstance(given[0], Mapping) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def state_names(self, group: Group) -> list[str]:
        """Return the names of the state arrays the group needs."""
        return []

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Move ``value`` in place; it is 1-D if the update is elementwise. ``step`` is from 1."""
        raise TypeError(
            f"{type(self).__name__} defines neither update(value, grad, state, step, group) nor "
            f"step(closure=None); define one of them"
        )

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of a state array of a parameter of ``shape``; None if it has none.

        Only updates that are not elementwise may have state of another shape.
        """
        return shape

    def check(self, group: Group) -> None:
        """Refuse settings and parameters that do not go together; a subclass may say which."""

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Train the parameters of ``param_group["params"]`` too, by the group's settings.

        Errors: ShapeError for settings that do not exist, or a parameter that is already trained;
        TypeError for what is no mapping, or a set of parameters, which has no order.
        """
        who = type(self).__name__
        if not isinstance(param_group, Mapping):
            raise TypeError(f"{who}: a group is a mapping; got a {type(param_group).__name__}")
        params, names = split(listed(param_group["params"], who), who)
        unknown = set(param_group) - set(self.defaults) - _HOW - _SCHEDULES - {"params"}
        # An optimizer around another hands its own groups on, with the settings that it reads.
        if unknown and not of_an_optimizer(param_group, params):
            raise ShapeError(
                f"{who} has no setting {sorted(unknown)} (what is for your own use you may add to "
                f"optimizer.param_groups[i] later)"
            )
        if "differentiable" in param_group:
            refuse_differentiable(who, param_group["differentiable"])
        counted = [id(p) for g in [*self.param_groups, {"params": params}] for p in g["params"]]
        if len(counted) != len(set(counted)):
            raise ShapeError("a parameter is in two groups; name each parameter once")
        if self.param_groups and bool(names) != ("param_names" in self.param_groups[0]):
            raise ShapeError(f"{who}: give names to the parameters of all groups or of none")
        for p in params:
            if not self.trains_complex and p.dtype.kind == "c":
                raise ShapeError(f"{who} trains real parameters; got one of {p.dtype}")
        group = {**self.defaults, **param_group, "params": params}
        missing = [name for name, value in group.items() if value is required]
        if missing:
            raise ShapeError(f"{who}: a group must say its {', '.join(missing)}")
        if names:
            group["param_names"] = names
        kinds = _USUAL | kinds_of(type(self).__init__)
        refuse(who, kinds, [(name, group[name]) for name in self.defaults])
        self.check(group)
        self.param_groups.append(group)
        if not self._steps_itself:
            self._stores.append(self._store(params, self.state_names(group)))
        self._say_what_it_needs(params)

    def _say_what_it_needs(self, params: list[Tensor]) -> None:
        """Leave word with the parameters: ranks that share them out ask how they may be cut."""
        needs: Any = "elements" if self.elementwise else "parameters"
        mover = Mover(
            weakref.ref(self), type(self).__name__, "everything" if self._steps_itself else needs
        )
        for p in params:
            place = p._place
            if place is not None and place.buffer.sharding is not None:
                place.buffer.sharding.admit(place.slot, mover)
            others = [m for m in getattr(p, "_movers", ()) if m.optimizer() is not None]
            p._movers = [*others, mover]

    def _store(
        self, params: list[Tensor], state_names: list[str]
    ) -> FlatParameters | SeparateParameters:
        # Frozen parameters too: they have no gradient, are skipped, and may be unfrozen later.
        if self.elementwise:
            return FlatParameters(params, state_names, self.scalars)
        return SeparateParameters(params, state_names, self.scalars, self.state_shape)

    @property
    def _steps_itself(self) -> bool:
        """Whether it has its own ``step`` (as PyTorch's have), and its own state."""
        return type(self).update is Optimizer.update

    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        """Move every parameter that has a gradient.

        ``closure``, if given, is called first: it computes the gradients and returns the loss,
        which is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if self._steps_itself:
            Optimizer.update(self, *[None] * 5)  # type: ignore[arg-type]  # says what is missing
        for group, store in zip(self.param_groups, self._stores, strict=True):
            store.names = self.state_names(group)  # momentum may have been turned on since
            store.update(partial(self._move, group=numbers_of(group)))
        self._tell_listeners()
        return loss

    def _tell_listeners(self) -> None:
        if not self._inside:
            for listener in {p._listener for g in self.param_groups for p in g["params"]}:
                if listener is not None:
                    listener.optimizer_stepped(self)

    def _step_is_over(self) -> None:
        if self._steps_itself:
            self._tell_listeners()

    def _move(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        if value.dtype.kind == "c":
            # Twice as many real numbers, as in PyTorch; numbers of the state stay what they are.
            real = value.real.dtype
            given = {k: v.view(real) if isinstance(v, np.ndarray) else v for k, v in state.items()}
            self._move(value.view(real), np.ascontiguousarray(grad).view(real), given, step, group)
            state.update({k: given[k] for k in self.scalars})
            return
        negate = group.get("maximize") and not self.maximizes
        self.update(value, -grad if negate else grad, state, step, group)

    def settings(self, group: Group, *without: str) -> dict[str, Any]:
        """Return the group's settings as the update function's keywords."""
        found = {k: group[k] for k in self.defaults}
        for name in without if self.maximizes else (*without, "maximize"):
            found.pop(name, None)
        return found

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
            lines.append("")
        return "\n".join([*lines[:-1], ")"])

    @apart
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters: they become None, or else zeros in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    clear_(p.grad)

    # -- state --------------------------------------------------------------------------------

    @property
    def state(self) -> Any:
        """Each parameter's state: ``optimizer.state[p]["exp_avg"]`` is a Tensor of live memory.

        To be read, unless the optimizer writes its own ``step``: then it is a dictionary of its.
        """
        return self._own if self._steps_itself else StateView(self._entries)

    def _entries(self) -> dict[Tensor, tuple[dict[str, Any], State]]:
        """Return the numbers and the arrays of the parameters that have been moved."""
        return {
            p: ({"step": store.steps[i], **store.scalars[i]}, store.state_of(i))
            for store in self._stores
            for i, p in enumerate(store.params)
            if store.steps[i]
        }

    def _whole_entries(self) -> dict[Tensor, dict[str, Any]]:
        """Return the same as one dictionary each, gathered from the ranks that share it out."""
        return {
            p: {"step": store.steps[i], **store.scalars[i], **arrays}
            for store in self._stores
            for i, (p, arrays) in enumerate(zip(store.params, store.whole_state(), strict=True))
            if store.steps[i]
        }

    def state_dict(self) -> dict[str, Any]:
        """Return PyTorch's layout: ``state`` by parameter number, ``param_groups`` with numbers.

        It is whole on every rank; where ranks share parameters out (zero=1 and more) it is
        gathered, so call it on every rank.
        """
        entries: dict[Tensor, dict[str, Any]] = (
            {p: saved(entry) for p, entry in self._own.items()}
            if self._steps_itself
            else self._whole_entries()
        )
        state: dict[int, dict[str, Any]] = {}
        groups = []
        number = count()
        for group in self.param_groups:
            members = [next(number) for _ in group["params"]]
            found = zip(members, group["params"], strict=True)
            state |= {n: entries[p] for n, p in found if p in entries}
            settings = {k: v for k, v in numbers_of(group).items() if k != "params"}
            groups.append({**settings, "params": members})
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a ``state_dict``, this optimizer's or that of PyTorch's of the same name.

        Everything is checked before anything is changed. Errors: ShapeError naming the parameter
        that does not fit, or a setting that does not exist here.
        """
        state_of(type(self).__name__, state_dict, "state", "param_groups")
        groups = state_dict["param_groups"]
        for group in groups:
            state_of(f"{type(self).__name__}, a group", group, "params")
        sizes = [len(g["params"]) for g in groups]
        own = [len(g["params"]) for g in self.param_groups]
        if sizes != own:
            raise ShapeError(
                f"the optimizer has groups of {own} parameters, the state {sizes}; "
                f"it belongs to another model or other groups"
            )
        state = {int(k): v for k, v in state_dict["state"].items()}
        settings = [
            {**group, **self._known(found, group)}
            for group, found in zip(self.param_groups, groups, strict=True)
        ]
        entries = [state.get(n) for n in range(sum(sizes))]
        params = [p for g in settings for p in g["params"]]
        if self._steps_itself:
            self._own = defaultdict(dict)
            for p, entry in zip(params, entries, strict=True):
                if entry:
                    self._own[p] = loaded(entry, p.dtype)
        pairs = [(g, p.shape) for g in settings for p in g["params"]]
        for n, (entry, (group, shape)) in enumerate(zip(entries, pairs, strict=True)):
            self._check_entry(n, entry, group, shape)
        for group, new in zip(self.param_groups, settings, strict=True):
            group.update(new)
        self._fill(entries)

    def _fill(self, entries: list[Mapping[str, Any] | None]) -> None:
        """Copy the entries of all parameters into the stores; None forgets what was there."""
        number = count()
        for group, store in zip(self.param_groups, self._stores, strict=self._stores != []):
            store.names = self.state_names(group)
            for i in range(len(store.params)):
                entry = entries[next(number)]
                # PyTorch's SGD keeps no step: that it has an entry says it has taken one.
                store.steps[i] = int(entry.get("step", 1)) if entry else 0
                # A new one: parameters that move alike have the same dictionary.
                store.scalars[i] = {
                    name: float(entry[name]) if entry else first
                    for name, first in self.scalars.items()
                }
                store.fill_state(i, entry)

    def _known(self, saved: Mapping[str, Any], group: Group) -> dict[str, Any]:
        """Return the settings that exist here; the others must be off or say how, not what."""
        own = set(self.defaults)
        # AdamW's state says by PyTorch's name what it is anyway.
        others = {*group, *_HOW, *_SCHEDULES, "params", "decoupled_weight_decay"}
        foreign = sorted(k for k, v in saved.items() if v and k not in own | others)
        if foreign:
            raise ShapeError(
                f"{type(self).__name__} has no setting {foreign}, which the state was saved with"
            )
        # What schedules have left is wanted by one who goes on with them.
        return {k: v for k, v in saved.items() if k in own | _SCHEDULES | {*group} - {"params"}}

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
                    f"the state has no '{name}' of parameter {number}; it has {[*entry]}: it is "
                    f"not that of {type(self).__name__} with these settings"
                )
            if np.shape(entry[name]) != its_shape:
                raise ShapeError(
                    f"'{name}' of parameter {number} has shape {np.shape(entry[name])} in the "
                    f"state and {its_shape} here"
                )


def refuse_differentiable(who: str, differentiable: bool) -> None:
    """Refuse a step that is itself on the tape."""
    if differentiable:
        raise GradError(
            f"{who}: steps here are not recorded, so differentiable=True would give no gradient; "
            f"write the step yourself, p - lr * g with g of dg.grad or "
            f"dg.autograd.grad(…, create_graph=True), and run the model with functional_call"
        )


def numbers_of(group: Group) -> Group:
    """Return the group with plain numbers for those that are Tensors of one element."""
    for value in group.values():
        if type(value) not in _PLAIN and _has_tensor(value):
            return {k: _number(v) for k, v in group.items()}
    return group


_PLAIN = frozenset({float, bool, int, str, list, type(None)})  # what most are


def _has_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (type(value) is tuple and any(map(_has_tensor, value)))


def _number(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.item()
    return tuple(map(_number, value)) if isinstance(value, tuple) else value
