"""Compares what constructors are given with their annotations: another kind is refused by name.

Annotations are what type checkers read anyway, so that no constructor says twice what it takes;
what type checkers have no word for is in ``distgrad.kinds``. Knows no class: what an annotation of
a class means, objects that behave like it fulfil as well.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from numbers import Number, Real
from typing import Annotated, Any, Literal, ParamSpec, Protocol, TypeVar, Union

import numpy as np

from distgrad.errors import DistgradError, ShapeError
from distgrad.kinds import FUNCTION, NONE, SWITCH, Kind, either, number, one_of, whole

P = ParamSpec("P")
R = TypeVar("R")


def check_constructors(
    names: Mapping[str, Any],
    chosen: Iterable[str],
    *,
    itself: Iterable[str] = (),
    afterwards: bool = False,
) -> None:
    """Let the constructors of the ``chosen`` classes refuse arguments of another kind.

    They raise TypeError, or ShapeError for a value of the right type, before they do anything.
    ``itself`` names those ("Lookahead.optimizer") of which the constructor has more to say;
    ``afterwards`` looks when it has failed or ended, where constructors have checks of their own.
    """
    for name in chosen:
        found = names.get(name)
        # Records hold what was measured, NaN too.
        if not isinstance(found, type) or dataclasses.is_dataclass(found):
            continue
        construct: Any = found.__init__  # type: ignore[misc]
        # Also one that comes from a class without a public name; each is checked once.
        if inspect.isfunction(construct) and not hasattr(construct, "itself"):
            own = {n.partition(".")[2] for n in itself if n.startswith(f"{name}.")}
            _check(found, own, afterwards)


def refuse(who: str, kinds: Mapping[str, Kind], *given: Iterable[tuple[str, Any]]) -> None:
    """Raise TypeError for the first name and value of ``given`` that is not of its kind.

    Errors: ShapeError where it is of the kind's type: NaN, a tuple of another length.
    """
    for name, value in chain(*given):
        kind = kinds.get(name)
        if kind is not None and not kind.holds(value):
            error = ShapeError if isinstance(value, kind.of) else TypeError
            raise error(f"{who}: {name} is {kind.words}; got {_shown(value)}")


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that fails over an argument of another kind say which: it looks afterwards.

    So a call that goes well costs no check.
    """

    @functools.wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        try:
            return function(*args, **named)
        except DistgradError:
            raise
        except (TypeError, AttributeError, ValueError):
            refuse_arguments(function, args, named)
            raise

    return call


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse arguments of another kind before it does anything."""

    @functools.wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        refuse_arguments(function, args, named)
        return function(*args, **named)

    return call


def refuse_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]
) -> None:
    """Raise TypeError for arguments that are not what the annotations of ``function`` say."""
    # Of too many or unknown ones Python's own message comes later.
    by_position = zip(_names(function), args, strict=False)
    who = function.__qualname__.rpartition("<locals>.")[2]
    refuse(who, kinds_of(function), by_position, named.items())


@functools.cache
def _names(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    places = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [p.name for p in parameters if p.kind in places]


@functools.cache
def kinds_of(constructor: Callable[..., Any]) -> dict[str, Kind]:
    """Return the kinds of the arguments of a constructor, of those whose annotations say one."""
    function = inspect.unwrap(constructor)
    kinds = {}
    various = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in various or parameter.annotation is parameter.empty:
            continue
        kind = _kind(_evaluated(parameter.annotation, function.__globals__))
        if kind is not None:
            kinds[name] = kind
    return kinds


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    try:
        while isinstance(annotation, str):  # also that of an alias
            annotation = eval(annotation, names)
    except (NameError, TypeError):
        return Any  # names that only a type checker imports, or quotes: it says nothing here
    return type(None) if annotation is None else annotation


def _check(found: type, own: set[str], afterwards: bool) -> None:
    construct: Any = found.__init__  # type: ignore[misc]
    names = _names(construct)[1:]  # without self

    @functools.wraps(construct)
    def checked(self: Any, *args: Any, **named: Any) -> None:
        def look() -> None:
            refuse(type(self).__name__, kinds(), zip(names, args, strict=False), named.items())

        if not afterwards:
            look()
            construct(self, *args, **named)
            return
        try:
            construct(self, *args, **named)
        except DistgradError:
            raise
        except (TypeError, AttributeError, ValueError):
            look()
            raise
        look()

    @functools.cache
    def kinds() -> dict[str, Kind]:
        return {name: kind for name, kind in kinds_of(construct).items() if name not in own}

    vars(checked)["itself"] = own
    found.__init__ = checked  # type: ignore[misc]


def _kind(hint: Any) -> Kind | None:
    """Return what an annotation says; None if it allows anything."""
    if isinstance(hint, TypeVar):
        hint = hint.__bound__
    if hint is Any or hint is None:
        return None
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return next((n for n in hint.__metadata__ if isinstance(n, Kind)), _kind(hint.__origin__))
    if origin in (Union, types.UnionType):
        kinds = [_kind(part) for part in parts]
        # Of sequences of several kinds the constructor itself knows best what is wrong.
        several = sum(typing.get_origin(part) in _SEQUENCES for part in parts) > 1
        known = [k for k in kinds if k is not None]
        return None if several or len(known) < len(kinds) else either(*known)
    if origin is Literal:
        return one_of(*parts)
    if origin in _SEQUENCES:
        fixed = origin is tuple and parts[-1:] != (...,)
        return _tuple(parts) if fixed else _several(parts[0])
    return _PLAIN.get(hint) or _PLAIN.get(origin) or _object(origin or hint)


def _tuple(parts: tuple[Any, ...]) -> Kind:
    kinds = [_kind(part) for part in parts]

    def holds(value: Any) -> bool:
        if not isinstance(value, tuple | list) or len(value) != len(kinds):
            return False
        return all(k is None or k.holds(v) for k, v in zip(kinds, value, strict=True))

    return Kind(
        f"({', '.join('…' if k is None else k.words for k in kinds)})", holds, (tuple, list)
    )


def _several(part: Any) -> Kind:
    kind = _kind(part)
    of = "values" if kind is None else f"values that are each {kind.words}"

    def holds(value: Any) -> bool:
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
            return False
        # A generator is looked at by who uses it up.
        looked_at = value if isinstance(value, tuple | list | np.ndarray) else ()
        return all(kind is None or kind.holds(v) for v in looked_at)

    return Kind(f"a sequence of {of}", holds)


def _object(cls: Any) -> Kind | None:
    """What a class stands for: no value of a plain kind, which has none of its methods."""
    if not isinstance(cls, type) or cls in {object, np.ndarray}:
        return None
    if getattr(cls, "_is_protocol", False):
        return _protocol(cls)
    if issubclass(str, cls):  # Hashable and the like
        return None

    def holds(value: Any) -> bool:
        if isinstance(value, cls):
            return True
        return not (value is None or type(value) is object or isinstance(value, _PLAIN_VALUES))

    article = "an" if cls.__name__[0] in "AEIOU" else "a"
    return Kind(f"{article} {cls.__name__}", holds)


def _protocol(cls: type) -> Kind:
    """What has all that a protocol names."""
    protocols = [base for base in cls.__mro__ if getattr(base, "_is_protocol", False)]
    named = {n for base in protocols for n in (*vars(base), *vars(base).get("__annotations__", ()))}
    names = sorted(named - _OF_ALL_PROTOCOLS)
    words = f"an object with {', '.join(names)}"
    return Kind(words, lambda v: all(hasattr(v, name) for name in names))


class _Nothing(Protocol):
    """Asks for nothing: what it has, all protocols have."""


_OF_ALL_PROTOCOLS = {*dir(_Nothing), *vars(_Nothing), "__annotations__", "__parameters__"}
_OF_ALL_PROTOCOLS |= {"__orig_bases__", "__non_callable_proto_members__", "__protocol_attrs__"}
_SEQUENCES = (tuple, list, collections.abc.Sequence, collections.abc.Iterable)
_PLAIN_VALUES = (str, bytes, Number, tuple, list, dict, np.ndarray, types.FunctionType)


_PLAIN: dict[Any, Kind] = {
    float: number(),
    int: whole(quotients=True),
    bool: SWITCH,
    str: Kind("a string", lambda v: isinstance(v, str | os.PathLike)),
    os.PathLike: Kind("a path", lambda v: isinstance(v, os.PathLike)),
    type(None): NONE,
    collections.abc.Callable: FUNCTION,
    collections.abc.Mapping: Kind("a mapping", lambda v: isinstance(v, Mapping)),
    collections.abc.Sized: Kind("what has a length", lambda v: hasattr(v, "__len__")),
    dict: Kind("a mapping", lambda v: isinstance(v, Mapping)),
}


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, Real) else repr(value)
    return text if len(text) <= 80 else f"a {type(value).__name__}"
