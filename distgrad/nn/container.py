"""Modules made of modules, and lists and dictionaries of parameters."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, ClassVar, Generic, TypeVar, overload

from distgrad.nn.module import Module, Parameter
from distgrad.nn.tree import MODULE, PARAMETER

V = TypeVar("V")
S = TypeVar("S", bound="_Numbered[Any]")
Pairs = Mapping[str, V] | Iterable[tuple[str, V]]


class _Numbered(Module, Generic[V]):
    """A list whose elements are registered under their numbers."""

    _kind: ClassVar[str] = MODULE

    def _items(self) -> dict[str, V]:
        return dict(self._own(self._kind))

    def _accept(self, value: Any) -> V:
        return _module(self, value)  # type: ignore[return-value]

    def _replace(self, values: Iterable[V]) -> None:
        for name in self._items():
            delattr(self, name)
        for i, value in enumerate(values):
            setattr(self, str(i), value)

    def _name(self, index: Any) -> str:
        names = list(self._items())
        i = operator.index(index)
        if not -len(names) <= i < len(names):
            raise IndexError(f"{type(self).__name__} has {len(names)} elements; got index {i}")
        return names[i]

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[V]:
        return iter(self._items().values())

    @overload
    def __getitem__(self, index: int) -> V: ...

    @overload
    def __getitem__(self: S, index: slice) -> S: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])  # type: ignore[call-arg]
        return vars(self)[self._name(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._name(index), self._accept(value))

    def __delitem__(self, index: int | slice) -> None:
        values = list(self)
        if not isinstance(index, slice):
            self._name(index)
        del values[index]
        self._replace(values)

    def append(self: S, value: Any) -> S:
        """Add an element at the end."""
        setattr(self, str(len(self)), self._accept(value))
        return self

    def extend(self: S, values: Iterable[Any]) -> S:
        """Add elements at the end. Errors: TypeError for what is no sequence."""
        if not hasattr(values, "__iter__"):
            raise TypeError(f"{type(self).__name__} takes a sequence of elements; got {values!r}")
        for value in list(values):
            self.append(value)
        return self

    def insert(self: S, index: int, value: Any) -> S:
        """Put an element before the one at ``index``, as ``list.insert``."""
        values = list(self)
        values.insert(index, self._accept(value))
        self._replace(values)
        return self

    def pop(self, index: int = -1) -> V:
        """Remove and return an element. Errors: IndexError."""
        value = self[index]
        del self[index]
        return value

    def __iadd__(self: S, values: Iterable[Any]) -> S:
        return self.extend(values)

    def __add__(self: S, values: Iterable[Any]) -> S:
        return self[:].extend(values)


class Container(Module):
    """A module of the modules given by name; an older name of PyTorch's: write Module."""

    def __init__(self, **kwargs: Module) -> None:
        super().__init__()
        for name, module in kwargs.items():
            self.add_module(name, module)


class Sequential(_Numbered[Module]):
    """Modules applied one after the other; a dictionary of modules gives them names."""

    def __init__(self, *args: Module | Mapping[str, Module]) -> None:
        super().__init__()
        first = args[0] if len(args) == 1 else None
        if isinstance(first, Mapping):
            for name, m in first.items():
                self.add_module(name, m)
        else:
            self.extend(args)

    def forward(self, input: Any) -> Any:
        """Pass ``x`` through all modules."""
        for _, m in self._own(MODULE):
            input = m(input)
        return input

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(dict(list(self._items().items())[index]))
        return super().__getitem__(index)


class ModuleList(_Numbered[Module]):
    """A list of modules whose parameters belong to the model."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _child_reprs(self) -> list[tuple[str, str]]:
        # Neighbours that read the same are told once.
        folded: list[tuple[int, int, str]] = []
        for i, module in enumerate(self):
            text = repr(module)
            if folded and folded[-1][2] == text:
                folded[-1] = (folded[-1][0], i, text)
            else:
                folded.append((i, i, text))
        return [
            (f"{a}-{b}", f"{b - a + 1} x {text}") if b > a else (str(a), text)
            for a, b, text in folded
        ]


class ParameterList(_Numbered[Parameter]):
    """A list of parameters that belong to the model; arrays and tensors become parameters."""

    _kind = PARAMETER

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self.extend(values)

    def _accept(self, value: Any) -> Parameter:
        return _parameter(value)

    def _child_reprs(self) -> list[tuple[str, str]]:
        return [(name, _parameter_repr(p)) for name, p in self._items().items()]


class _Named(Module, MutableMapping[str, V]):
    """A dictionary whose elements are registered under their keys."""

    _kind: ClassVar[str] = MODULE
    # A module is itself alone, and a key; a mapping would compare its elements.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def _items(self) -> dict[str, V]:
        return dict(self._own(self._kind))

    def __getitem__(self, key: str) -> V:
        return self._items()[key]

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[str]:
        return iter(self._items())


class ModuleDict(_Named[Module]):
    """A dictionary of modules whose parameters belong to the model, in order of insertion.

    Errors: KeyError for a key that is empty, has a dot, or is a method's name.
    """

    def __init__(self, modules: Pairs[Module] = ()) -> None:
        super().__init__()
        self.update(_pairs(self, modules))

    def __setitem__(self, key: str, value: Module) -> None:
        self.add_module(key, _module(self, value))


class ParameterDict(_Named[Parameter]):
    """A dictionary of parameters that belong to the model; arrays and tensors become parameters.

    Errors: KeyError for a key that is empty, has a dot, or is a method's name.
    """

    _kind = PARAMETER

    def __init__(self, parameters: Pairs[Any] = ()) -> None:
        super().__init__()
        self.update(_pairs(self, parameters))

    def __setitem__(self, key: str, value: Any) -> None:
        self.register_parameter(key, _parameter(value))

    def _child_reprs(self) -> list[tuple[str, str]]:
        return [(name, _parameter_repr(p)) for name, p in self._items().items()]


def _module(holder: Module, value: Any) -> Module:
    if not isinstance(value, Module):
        raise TypeError(f"{type(holder).__name__} holds modules; got {type(value).__name__}")
    return value


def _parameter(value: Any) -> Parameter:
    return value if isinstance(value, Parameter) else Parameter(value)


def _parameter_repr(p: Parameter) -> str:
    return f"Parameter of shape {p.shape}, {p.dtype}"


def _pairs(container: object, given: Any) -> Any:
    """Return ``given``. Errors: TypeError unless it is a mapping or pairs of names and elements."""
    if isinstance(given, Mapping) or hasattr(given, "keys"):
        return given
    pairs = list(given) if hasattr(given, "__iter__") and not isinstance(given, str) else [given]
    if any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise TypeError(
            f"{type(container).__name__} takes a mapping, or pairs of names and elements; got "
            f"{given!r}"
        )
    return pairs
