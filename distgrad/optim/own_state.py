"""An optimizer's state as PyTorch's programs see it: a mapping from parameters to dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError

Entries = Callable[[], Mapping[Tensor, tuple[Mapping[str, Any], Mapping[str, Any]]]]


class StateView(Mapping[Tensor, Mapping[str, Any]]):
    """The state of an optimizer whose arrays are its own: to be read.

    Arrays are Tensors of the live memory and may be changed in place; a name cannot be assigned to
    (``load_state_dict`` does that).
    """

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def __getitem__(self, param: Tensor) -> Mapping[str, Any]:
        # Empty for one that has not been moved, as in PyTorch.
        numbers, arrays = self._entries().get(param, ({}, {}))
        return MappingProxyType({**numbers, **{k: Tensor(v) for k, v in arrays.items()}})

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def __contains__(self, param: object) -> bool:
        return param in self._entries()


def saved(value: Any) -> Any:
    """Return a state with arrays in the place of Tensors, in dictionaries and lists too."""
    if isinstance(value, Tensor):
        return value.array
    if isinstance(value, Mapping):
        return {k: saved(v) for k, v in value.items()}
    return [saved(v) for v in value] if isinstance(value, list | tuple) else value


def loaded(value: Any, dtype: Any, name: str = "") -> Any:
    """Return a copy of a state with Tensors in the place of arrays, also of PyTorch's.

    Floating-point arrays get the parameter's ``dtype``, all but the step, as in PyTorch.
    """
    if isinstance(value, Mapping):
        return {k: loaded(v, dtype, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [loaded(v, dtype, name) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    array = np.array(value.array if isinstance(value, Tensor) else np.asarray(value))
    casts = name != "step" and array.dtype.kind in "fc" and np.dtype(dtype).kind in "fc"
    return Tensor(array.astype(dtype) if casts else array)


def state_of(who: str, state: Any, *names: str) -> Mapping[str, Any]:
    """Return ``state``. Errors: TypeError for no mapping, ShapeError for one without ``names``."""
    if not isinstance(state, Mapping):
        raise TypeError(f"{who} loads a state_dict(), a mapping; got {state!r}")
    missing = [name for name in names if name not in state]
    if missing:
        raise ShapeError(
            f"{who}: the state has no {', '.join(missing)}, only {[*state]}; it is that of "
            f"something else"
        )
    return state
