"""Functions composed of ops that also read values: of a recorded step (``capture``) one op each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from distgrad.autograd.mode import grad_enabled, recorder
from distgrad.autograd.op import alias
from distgrad.autograd.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def whole(function: Callable[P, R]) -> Callable[P, R]:
    """Declare that ``function``, composed of ops, also reads values: it is recorded as one op.

    A recorded step runs all of it again each time, on a tape of its own. Gradients flow to the
    Tensors among its arguments; it uses no parameters besides them. What it returns are Tensors,
    arrays and constants, also in (named) tuples.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        recording = recorder()
        if recording is not None:
            found: R = recording.whole(function, args, kwargs)
            return found
        if not grad_enabled.get():
            return function(*args, **kwargs)
        # Gradients to an argument that is used several times are added up before they meet those
        # of its other users, as an op's are: (a + b) + c is not a + (b + c).
        named = {name: _aliased(x) for name, x in reversed(kwargs.items())}
        given = [_aliased(x) for x in reversed(args)][::-1]
        call: Callable[..., R] = function
        return call(*given, **{name: named[name] for name in kwargs})

    return call


def _aliased(x: Any) -> Any:
    # The last first: the newest node sends its gradient on first.
    if isinstance(x, Tensor):
        return alias(x) if x.requires_grad else x
    if type(x) in {list, tuple}:
        return type(x)([_aliased(part) for part in reversed(x)][::-1])
    if type(x) is dict:
        parts = {name: _aliased(part) for name, part in reversed(x.items())}
        return {name: parts[name] for name in x}
    return x
