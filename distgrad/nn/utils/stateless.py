"""A module as a function of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError
from distgrad.nn.module import Module

Tensors: TypeAlias = "Mapping[str, Any] | Sequence[Mapping[str, Any]]"


def functional_call(
    module: Module,
    parameters_and_buffers: Tensors,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Return ``module(*args, **kwargs)`` with other parameters and buffers, by their names.

    The result can be differentiated with respect to them (``dg.grad``, ``vjp``); the module is left
    as it was. Several dictionaries may be given. ``args`` that are no tuple are the only argument.
    What the module shares is replaced under all its names, unless ``tie_weights=False``.
    Errors: ShapeError for another shape, a name twice, or with ``strict`` one missing or unknown.
    """
    given = _merged(parameters_and_buffers)
    places = _places(module, given, tie_weights, strict)
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(places):
        return module(*positional, **(kwargs or {}))


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the parameters and the buffers of equal models, each stacked along a new first axis.

    For one ``functional_call`` of an ensemble under ``vmap``. The parameters are new leaves.
    Errors: ShapeError for no models, or models that differ.
    """
    if not models:
        raise ShapeError("stack_module_state got no models")
    named = [dict(m.named_parameters()) for m in models]
    held = [dict(m.named_buffers()) for m in models]
    parameters = {name: _stacked(name, named) for name in named[0]}
    for name, tensor in parameters.items():
        tensor.requires_grad = named[0][name].requires_grad
    return parameters, {name: _stacked(name, held) for name in held[0]}


def _stacked(name: str, models: Sequence[Mapping[str, Any]]) -> Tensor:
    forms = {str((m[name].shape, m[name].dtype)) if name in m else "none" for m in models}
    if len(forms) > 1 or len({len(m) for m in models}) > 1:
        raise ShapeError(
            f"stack_module_state: the models differ: '{name}' is {' and '.join(sorted(forms))}"
        )
    return Tensor(np.stack([m[name].data for m in models]))


def _merged(given: Tensors) -> dict[str, Tensor]:
    parts = [given] if isinstance(given, Mapping) else list(given)
    names = [name for part in parts for name in part]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ShapeError(f"functional_call: {twice} stand in several dictionaries; give each once")
    merged = {name: value for part in parts for name, value in part.items()}
    return {n: v if isinstance(v, Tensor) else Tensor(v) for n, v in merged.items()}


def _places(
    module: Module, given: Mapping[str, Tensor], tie_weights: bool, strict: bool
) -> list[tuple[Module, str, Tensor]]:
    """Return (module, attribute, new tensor) for every name that is replaced."""
    named = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    own = dict(named)
    new = dict(given)
    if tie_weights:
        by_identity: dict[int, str] = {}
        for name, tensor in named:
            if name in given:
                first = by_identity.setdefault(id(tensor), name)
                if given[first] is not given[name]:
                    raise ShapeError(
                        f"functional_call: '{first}' and '{name}' are one parameter and were given "
                        f"two values; give one, or pass tie_weights=False"
                    )
        new |= {n: given[by_identity[id(t)]] for n, t in named if id(t) in by_identity}
    missing, unknown = [n for n in own if n not in new], [n for n in new if n not in own]
    if strict and (missing or unknown):
        raise ShapeError(
            f"functional_call of {type(module).__name__}: missing {missing or 'nothing'}, "
            f"unexpected {unknown or 'nothing'}"
        )
    for name, value in new.items():
        if name in own and value.shape != own[name].shape:
            raise ShapeError(
                f"functional_call: '{name}' has the shape {own[name].shape} in "
                f"{type(module).__name__}; got {value.shape}"
            )
    found = []
    for name in own:
        path, _, last = name.rpartition(".")
        if name in new:
            found.append((module.get_submodule(path), last, new[name]))
    return found


@contextmanager
def _replaced(places: Sequence[tuple[Module, str, Tensor]]) -> Iterator[None]:
    # Past the registration, which stays: a plain Tensor stands where a Parameter did.
    before = [vars(m)[name] for m, name, _ in places]
    try:
        for m, name, value in places:
            vars(m)[name] = value
        yield
    finally:
        for (m, name, _), value in zip(places, before, strict=True):
            vars(m)[name] = value
