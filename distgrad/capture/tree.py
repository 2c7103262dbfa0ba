"""Arguments and results with arrays among them: what varies by number, the rest as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor, output
from distgrad.errors import CaptureError

Look = Callable[[Any], "Leaf | None"]
"""Says what varies: None for what is the same at every call."""


@dataclass(frozen=True)
class Leaf:
    """A value of the program, by its number, handed on as a Tensor or as the array itself."""

    number: int
    tensor: bool

    def __repr__(self) -> str:
        return f"value {self.number}"


class Tree:
    """A structure of tuples, lists, dictionaries and slices, of values and constants."""

    def __init__(self, given: Any, look: Look) -> None:
        self._numbers: list[int] = []
        self.value = self._parsed(given, look)
        """The structure, with a Leaf wherever something varies."""
        self.numbers = tuple(self._numbers)
        self.plain: tuple[int, ...] | None = None
        """The numbers, if it is a tuple of arrays and of nothing else."""
        if type(self.value) is tuple and all(type(x) is Leaf and not x.tensor for x in self.value):
            self.plain = self.numbers

    def _parsed(self, x: Any, look: Look) -> Any:
        found = look(x)
        if found is not None:
            self._numbers.append(found.number)
            return found
        if type(x) in {list, tuple}:
            return type(x)([self._parsed(part, look) for part in x])
        if isinstance(x, tuple):  # a named one, or a shape that says who reads it
            parts = [self._parsed(part, look) for part in x]
            return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
        if isinstance(x, Mapping):
            return {k: self._parsed(part, look) for k, part in x.items()}
        if isinstance(x, slice):
            parts = [self._parsed(part, look) for part in (x.start, x.stop, x.step)]
            return slice(*parts)
        return x

    def fill(self, values: list[Any]) -> Any:
        """Return the structure with the values in their places."""
        if self.plain is not None:
            return tuple([values[n] for n in self.plain])
        return _filled(self.value, values) if self.numbers else self.value

    def take(self, result: Any, values: list[Any]) -> None:
        """Store what stands in the result where this structure has its leaves."""
        for leaf, part in zip(_leaves(self.value), _at_leaves(self.value, result), strict=True):
            values[leaf.number] = part.array if leaf.tensor else part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and alike(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]


def _filled(x: Any, values: list[Any]) -> Any:
    kind = type(x)
    if kind is Leaf:
        value = values[x.number]
        return output(value, None, 0) if x.tensor else value
    if kind in {list, tuple}:
        return kind([_filled(part, values) for part in x])
    if isinstance(x, tuple):
        return kind(*[_filled(part, values) for part in x])
    if kind is dict:
        return {k: _filled(part, values) for k, part in x.items()}
    if kind is slice:
        return slice(*[_filled(part, values) for part in (x.start, x.stop, x.step)])
    return x


def _leaves(x: Any) -> Iterator[Leaf]:
    if type(x) is Leaf:
        yield x
    elif isinstance(x, list | tuple):
        for part in x:
            yield from _leaves(part)
    elif type(x) is dict:
        for part in x.values():
            yield from _leaves(part)


def _at_leaves(x: Any, result: Any) -> Iterator[Any]:
    if type(x) is Leaf:
        yield result
    elif isinstance(x, list | tuple):
        for part, its in zip(x, result, strict=True):
            yield from _at_leaves(part, its)
    elif type(x) is dict:
        if result.keys() != x.keys():
            raise CaptureError(
                f"what a function returns has {_words(result)} now, and had {_words(x)} when the "
                f"step was captured; call it outside"
            )
        for k, part in x.items():
            yield from _at_leaves(part, result[k])


def _words(names: Iterable[Any]) -> str:
    return ", ".join(map(repr, names)) or "no names"


def alike(a: Any, b: Any) -> bool:
    """Whether two constants, or structures of them, are the same for a step."""
    if a is b:
        return True
    if type(a) is not type(b) or isinstance(a, Tensor):  # a Tensor is itself alone
        return False
    if isinstance(a, np.ndarray):
        same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    elif isinstance(a, list | tuple):
        same = len(a) == len(b) and all(map(alike, a, b))
    elif isinstance(a, Mapping):
        same = a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    elif isinstance(a, slice):
        same = alike((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    elif isinstance(a, float):
        same = a == b or (math.isnan(a) and math.isnan(b))
    else:
        same = a == b
    return bool(same)
