"""One rule for methods: ``dim=`` means PyTorch's result, ``axis=`` NumPy's.

Where both mean the same a method is declared once, with NumPy's names (``same``). Where they differ
it is declared twice (``TwoMeanings``): names choose the meaning, and positions alone, which cannot,
are refused with both spellings; beside one of PyTorch's names they are PyTorch's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)
S_co = TypeVar("S_co", covariant=True)

NUMPYS_NAME = {"dim": "axis", "keepdim": "keepdims", "dim1": "axis1", "dim2": "axis2"}


def same(method: Callable[..., R]) -> Callable[..., R]:
    """Let a method that means the same in both worlds take PyTorch's names beside NumPy's.

    Errors: TypeError for ``dim`` beside ``axis``, for a name that it does not take, and a second
    position that is no boolean (NumPy's is the dtype).
    """
    name = method.__name__
    taken = [*inspect.signature(method).parameters][1:]
    second = [*taken, "", ""][1]
    known = {name: name for name in taken}
    known |= {theirs: ours for theirs, ours in NUMPYS_NAME.items() if ours in taken}

    @functools.wraps(method)
    def either(self: Any, *args: Any, **settings: Any) -> R:
        if not settings and len(args) < 2:
            return method(self, *args)
        if not args and settings.keys() <= known.keys():
            named = {known[name]: value for name, value in settings.items()}
            if len(named) == len(settings):  # nothing is named twice
                return method(self, **named)
        if len(args) > 1 and second == "keepdims" and not isinstance(args[1], bool):
            raise TypeError(
                f"x.{name}(axis, {args[1]!r}): the second position is PyTorch's keepdim, a "
                f"boolean; write x.{name}(axis=…), with several axes as a tuple"
            )
        for theirs in NUMPYS_NAME.keys() & settings.keys():
            ours = NUMPYS_NAME[theirs]
            if ours in settings:
                raise _mixed(f"x.{name}({{}})", {theirs}, {ours})
            if ours in taken:
                settings[ours] = settings.pop(theirs)
        unknown = sorted(settings.keys() - set(taken))
        if unknown:
            raise TypeError(f"x.{name} takes no {unknown[0]!r}; it takes {', '.join(taken)}")
        return method(self, *args, **settings)

    return either


class BoundTwice(Protocol[P, R_co, Q, S_co]):
    """What ``x.method`` is: called with NumPy's names, or with PyTorch's."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> S_co: ...


class TwoMeanings(Generic[P, R, Q, S]):
    """A method (or function) that NumPy and PyTorch define differently; names choose the half.

    ``instead`` are the spellings that a refusal offers. A call without settings is whose ``bare``
    says; refused if nobody's. A function says in ``written`` how it is called.
    """

    def __init__(
        self,
        numpys: Callable[Concatenate[Any, P], R],
        pytorchs: Callable[Concatenate[Any, Q], S],
        instead: str,
        *,
        bare: Literal["numpy", "pytorch", "refused"] = "numpy",
        written: str = "",
    ) -> None:
        self._numpys: Callable[..., R] = numpys
        self._pytorchs: Callable[..., S] = pytorchs
        self._instead, self._bare, self._written = instead, bare, written
        ours, theirs = ([*inspect.signature(f).parameters] for f in (numpys, pytorchs))
        self._ours, self._theirs = set(ours) - set(theirs), set(theirs) - set(ours)
        self._order = theirs[1:]
        """PyTorch's settings in PyTorch's order."""
        self.__doc__ = f"{numpys.__doc__}\n\n{pytorchs.__doc__}\n\nSpellings: {instead}."

    def __set_name__(self, owner: type, name: str) -> None:
        self._written = f"x.{name}({{}})"

    @overload
    def __get__(self, x: None, owner: type) -> TwoMeanings[P, R, Q, S]: ...
    @overload
    def __get__(self, x: Any, owner: type) -> BoundTwice[P, R, Q, S]: ...
    def __get__(self, x: Any, owner: type) -> Any:
        return self if x is None else MethodType(self, x)

    def __call__(self, x: Any, /, *positions: Any, **settings: Any) -> R | S:
        """Choose by the names. Errors: TypeError where they do not say it, or say both."""
        ours, theirs = self._ours & settings.keys(), self._theirs & settings.keys()
        if ours and theirs:
            raise _mixed(self._written, theirs, ours)
        named = bool(ours or theirs)
        if positions and theirs and len(positions) <= len(self._order):
            # x.norm(2, dim=1): the name says whose positions these are.
            given = dict(zip(self._order, positions, strict=False))
            twice = given.keys() & settings.keys()
            if twice:
                name = self._written.format("…")
                raise TypeError(f"{name} was given {min(twice)} by position and by name")
            return self._pytorchs(x, **given, **settings)
        if positions or not (named or self._bare != "refused"):
            raise refused(self._written, positions, self._instead)
        if theirs or (not named and self._bare == "pytorch"):
            return self._pytorchs(x, **settings)
        return self._numpys(x, **settings)


def refused(written: str, positions: tuple[object, ...], instead: str) -> TypeError:
    """Return the error of a call that NumPy and PyTorch read differently."""
    given = written.format(", ".join(map(_short, positions))).replace(", )", ")")
    return TypeError(f"{given} means one thing in NumPy and another in PyTorch; write {instead}")


def _short(value: object) -> str:
    return repr(value) if isinstance(value, int | float | str | tuple | list) else "…"


def _mixed(written: str, theirs: set[str], ours: set[str]) -> TypeError:
    pytorchs, numpys = " and ".join(sorted(theirs)), " and ".join(sorted(ours))
    return TypeError(
        f"{written.format('…')} was given {pytorchs}, which asks for PyTorch's result, beside "
        f"{numpys}, which asks for NumPy's; use the names of one"
    )
