"""Compares what constructors are given with their annotations: another kind is refused by name.

Annotations are what type checkers read anyway, so that no constructor says twice what it takes.
Knows no class: what an annotation of a class means, objects that behave like it fulfil as well.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Number, Real
from typing import Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar, Union

import numpy as np

from distgrad.errors import DistgradError, ShapeError

P = ParamSpec("P")
R = TypeVar("R")


class Kind(NamedTuple):
    """What an argument is, in words, and whether a value is that."""

    words: str
    holds: Callable[[Any], bool]
    of: tuple[type, ...] = ()
    """The types of its values: another value of these is a wrong value, no wrong type."""


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
        if inspect.isfunction(vars(found).get("__init__")):
            own = {n.partition(".")[2] for n in itself if n.startswith(f"{name}.")}
            _check(found, own, afterwards)


def refuse(who: str, kinds: Mapping[str, Kind], given: Mapping[str, Any]) -> None:
    """Raise TypeError for the first of ``given`` that is not of its kind.

    Errors: ShapeError where it is of the kind's type: NaN, a tuple of another length.
    """
    for name, value in given.items():
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
    try:
        given = inspect.signature(function).bind(*args, **named).arguments
    except TypeError:
        return  # Python's own message comes next
    refuse(function.__name__, kinds_of(function), given)


@functools.cache
def kinds_of(constructor: Callable[..., Any]) -> dict[str, Kind]:
    """Return the kinds of the arguments of a constructor, of those whose annotations say one."""
    function = inspect.unwrap(constructor)
    kinds = {}
    various = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = parameter.annotation
        if parameter.kind in various or annotation is parameter.empty:
            continue
        if annotation in _OF_TENSORS:
            kinds[name] = _OF_TENSORS[annotation]
            continue
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hint = typing.get_type_hints(alone, function.__globals__)[name]
        except (NameError, TypeError):
            continue  # names that only a type checker imports, or quotes: it says nothing here
        kind = _kind(hint)
        if kind is not None:
            kinds[name] = kind
    return kinds


def _check(found: type, own: set[str], afterwards: bool) -> None:
    construct: Any = found.__init__  # type: ignore[misc]
    signature = inspect.signature(construct)

    @functools.wraps(construct)
    def checked(self: Any, *args: Any, **named: Any) -> None:
        try:
            given = signature.bind(self, *args, **named).arguments
        except TypeError:
            given = {}  # Python's own message comes next
        others = {name: value for name, value in given.items() if name not in own}
        who, kinds = type(self).__name__, kinds_of(construct)
        if not afterwards:
            refuse(who, kinds, others)
        try:
            construct(self, *args, **named)
        except DistgradError:
            raise
        except (TypeError, AttributeError, ValueError):
            refuse(who, kinds, others)
            raise
        if afterwards:
            refuse(who, kinds, others)

    vars(checked)["itself"] = own
    found.__init__ = checked  # type: ignore[misc]


def _kind(hint: Any) -> Kind | None:
    """Return what an annotation says; None if it allows anything."""
    if isinstance(hint, TypeVar):
        hint = hint.__bound__
    if hint is Any or hint is None:
        return None
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = [_kind(part) for part in parts]
        # Of sequences of several kinds the constructor itself knows best what is wrong.
        several = sum(typing.get_origin(part) in _SEQUENCES for part in parts) > 1
        known = [k for k in kinds if k is not None]
        return None if several or len(known) < len(kinds) else _either(known)
    if origin is Literal:
        return Kind(
            _joined([repr(p) for p in parts]), lambda v: isinstance(v, str) and v in parts, (str,)
        )
    if origin is tuple and parts[-1:] != (...,):
        return _tuple(parts)
    if origin in _SEQUENCES:
        return _several(parts[0], origin)
    return _PLAIN.get(hint) or _PLAIN.get(origin) or _object(origin or hint)


def _either(kinds: list[Kind]) -> Kind:
    words = list(dict.fromkeys(k.words for k in kinds))
    # None comes last, however it was written.
    words.sort(key=lambda w: w == "None")
    types_ = tuple(t for k in kinds for t in k.of)
    return Kind(_joined(words), lambda v: any(k.holds(v) for k in kinds), types_)


def _joined(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _tuple(parts: tuple[Any, ...]) -> Kind:
    kinds = [_kind(part) for part in parts]

    def holds(value: Any) -> bool:
        if not isinstance(value, tuple | list) or len(value) != len(kinds):
            return False
        return all(k is None or k.holds(v) for k, v in zip(kinds, value, strict=True))

    return Kind(
        f"({', '.join('…' if k is None else k.words for k in kinds)})", holds, (tuple, list)
    )


def _several(part: Any, origin: Any) -> Kind:
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


def _is_number(value: Any) -> bool:
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iuf":
        value = value.item()
    return isinstance(value, Real) and not math.isnan(value)


def _is_whole(value: Any) -> bool:
    # 1.0 is one: step counts are often quotients.
    if isinstance(value, float | np.floating):
        return float(value).is_integer()
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in {0, 1})


_PLAIN: dict[Any, Kind] = {
    float: Kind("a number", _is_number, (Real,)),
    int: Kind("a whole number", _is_whole),
    bool: Kind("True or False", _is_switch),
    str: Kind("a string", lambda v: isinstance(v, str | os.PathLike)),
    type(None): Kind("None", lambda v: v is None),
    collections.abc.Callable: Kind("a function", callable),
    collections.abc.Mapping: Kind("a mapping", lambda v: isinstance(v, Mapping)),
    collections.abc.Sized: Kind("what has a length", lambda v: hasattr(v, "__len__")),
    dict: Kind("a mapping", lambda v: isinstance(v, Mapping)),
}


def _is_array(value: Any) -> bool:
    try:
        # A Tensor's dtype, not its values, which a captured step may not read.
        dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
        return np.dtype(dtype).kind in "fiubc"
    except (TypeError, ValueError):
        return False


_ARRAY = Kind("a Tensor, an array or numbers", _is_array)
# An alias in quotes, as Tensor is not defined where it is.
_OF_TENSORS = {"TensorLike": _ARRAY, "TensorLike | None": _either([_ARRAY, _PLAIN[type(None)]])}


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, Real) else repr(value)
    return text if len(text) <= 80 else f"a {type(value).__name__}"
