"""How PyTorch's functions become methods of Tensors, and get twins in place. Knows none of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from distgrad.autograd.tensor import Tensor

PYTORCHS: dict[str, Callable[..., Any]] = {}
"""The methods that came from here: their positions and results are PyTorch's."""


def install(families: Iterable[ModuleType]) -> dict[str, Callable[..., Any]]:
    """Make the functions of ``families`` methods of Tensors; return the twins in place by name.

    A method is what is public and takes an ``input`` first, unless its family has a table of
    METHODS. What IN_PLACE names gets a twin with an underscore, a function and a method; so
    does what SHAPE_IN_PLACE names, by which a tensor gets another shape.
    """
    twins = {}
    for family in families:
        methods = {name: getattr(family, name) for name in family.__all__}
        for name, function in getattr(family, "METHODS", methods).items():
            _as_method(name, function)
        for names, shape in (("IN_PLACE", False), ("SHAPE_IN_PLACE", True)):
            for name in getattr(family, names, ()):
                twin = twins[f"{name}_"] = _in_place(getattr(family, name), name, shape)
                _as_method(f"{name}_", twin)
    return twins


def _as_method(name: str, function: Any) -> None:
    """What the class has already stays: there NumPy's and PyTorch's meanings were weighed."""
    if not inspect.isfunction(function):
        return
    first = next(iter(inspect.signature(function).parameters), None)
    if first == "input" and not any(name in vars(c) for c in Tensor.__mro__[:-1]):
        setattr(Tensor, name, function)
        PYTORCHS[name] = function


def _in_place(function: Callable[..., Any], name: str, shape: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    def twin(input: Tensor, *args: Any, **settings: Any) -> Tensor:
        result = function(input, *args, **settings)
        return input._become(result, f"x.{name}_()", shape=shape)

    twin.__name__ = twin.__qualname__ = f"{name}_"
    twin.__doc__ = f"``{name}`` in place: ``input`` takes the result, and is returned."
    return twin


def by_kind(name: str) -> tuple[int, str]:
    """Sort names as ``__all__`` has them: constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
