"""Draws and checks: what a distribution does with its values beside the tape.

A recorded step (``capture``) calls it again each time, with the values its parameters have then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from distgrad.autograd.mode import recorder
from distgrad.autograd.tensor import Tensor
from distgrad.distributions.constraints import Constraint
from distgrad.distributions.transform import Transform
from distgrad.errors import CaptureError

P = ParamSpec("P")
R = TypeVar("R")


class _Parts(NamedTuple):
    """A distribution or a transform, taken apart for a recorder that looks for Tensors."""

    kind: type
    state: dict[str, Any]


class _Region(NamedTuple):
    """A constraint, known by its name: two that are called the same hold the same."""

    name: str
    held: _Held


class _Held:
    """Carries an object through comparisons in which it does not count."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)

    __hash__ = None  # type: ignore[assignment]


def beside(*reads: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare (as ``apart``) that a distribution's method works on values beside the tape.

    It depends on its arguments and on what the distribution holds; no gradient flows through it.
    ``reads`` are the lazy parameters that it asks for: the eager step has them on its tape from
    there on, and so has the recorded one.
    """

    def declared(method: Callable[P, R]) -> Callable[P, R]:
        def again(*args: Any) -> R:
            call: Callable[..., R] = method
            return call(*map(_together, args))

        owner, _, name = method.__qualname__.rpartition(".")
        again.__qualname__ = f"{name} of {owner}"

        @functools.wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            recording = recorder()
            if recording is None:
                return method(*args, **kwargs)
            for name in reads:
                getattr(args[0], name)
            # The settings of these methods can all be given by position, and are in order.
            found: R = recording.apart(again, tuple(map(_apart, (*args, *kwargs.values()))), {})
            return found

        return call

    return declared


def _apart(x: Any) -> Any:
    if isinstance(x, Constraint):
        if any(isinstance(v, Tensor) for v in vars(x).values()):
            raise CaptureError(
                f"{x!r} has a Tensor for a bound, which a captured step could not follow: give "
                f"numbers, or validate_args=False"
            )
        return _Region(repr(x), _Held(x))
    if hasattr(x, "arg_constraints") or isinstance(x, Transform):
        # A transform's last pair is for its own eyes, and may be of another step.
        return _Parts(type(x), {k: _apart(v) for k, v in vars(x).items() if k != "_pair"})
    if type(x) in {list, tuple}:
        return type(x)(map(_apart, x))
    return x


def _together(x: Any) -> Any:
    if isinstance(x, _Region):
        return x.held.value
    if isinstance(x, _Parts):
        new: Any = object.__new__(x.kind)
        vars(new).update({k: _together(v) for k, v in x.state.items()})
        return new
    if type(x) in {list, tuple}:
        return type(x)(map(_together, x))
    return x
