"""A number that a step computes beside the tape: known when it runs, and not before."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.capture.guard import Form, refuse_reading
from distgrad.capture.tree import Leaf


class Later:
    """Stands for value ``number`` while the step is recorded; may be returned, not used."""

    __slots__ = ("held", "number")

    def __init__(self, number: int, held: Any) -> None:
        self.number = number
        self.held = held
        """What it was when the step was recorded, for functions that are called apart."""

    def refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise CaptureError naming the user's line."""
        refuse_reading("uses a number that each step computes anew")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refuse()


for _name in [
    "bool",
    "float",
    "int",
    "index",
    "complex",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "neg",
    "abs",
    "radd",
    "rsub",
    "rmul",
    "rtruediv",
    "rpow",
    "round",
    "str",
    "repr",
    "format",
    "array",
]:
    setattr(Later, f"__{_name}__", Later.refuse)


def now(x: Any) -> Any:
    """Return what stands for something else while the step is recorded as what it is."""
    return x.held if isinstance(x, Later | Form) else x


def with_later(tree: Any, result: Any) -> Any:
    """Return a result in which Python's numbers, which a replay could not follow, are Laters."""
    if type(tree) is Leaf:
        return result if isinstance(result, Tensor | np.ndarray) else Later(tree.number, result)
    if type(tree) in {list, tuple}:
        return type(tree)([with_later(t, r) for t, r in zip(tree, result, strict=True)])
    if isinstance(tree, tuple):
        return type(tree)(*[with_later(t, r) for t, r in zip(tree, result, strict=True)])
    if type(tree) is dict:
        return {k: with_later(t, result[k]) for k, t in tree.items()}
    return result
