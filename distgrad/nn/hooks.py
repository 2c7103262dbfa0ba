"""A module's call with the user's hooks around it. Without hooks none of this runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np

from distgrad.autograd.handle import RemovableHandle
from distgrad.autograd.mode import call_observer, grad_enabled
from distgrad.autograd.node import Joint
from distgrad.autograd.op import Op
from distgrad.autograd.tensor import Tensor
from distgrad.errors import CaptureError, GradError

FORWARD_PRE, FORWARD, BACKWARD_PRE, BACKWARD = "forward pre", "forward", "backward pre", "backward"
STATE_PRE, STATE_POST, LOAD_PRE, LOAD_POST = "state pre", "state post", "load pre", "load post"


class HasForward(Protocol):
    """A module, as far as its hooks are concerned."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output."""


@dataclass(frozen=True, eq=False)
class Hook:
    """A function of the user's and how it wants to be called."""

    kind: str
    function: Callable[..., Any]
    with_kwargs: bool = False
    always_call: bool = False


def add(hooks: dict[int, Hook], hook: Hook, prepend: bool) -> RemovableHandle:
    """Add ``hook`` after the others, or before them. Errors: TypeError for no function."""
    if not callable(hook.function):
        raise TypeError(f"a {hook.kind} hook is a function; got {hook.function!r}")
    others = dict(hooks)
    handle = RemovableHandle(hooks, hook)
    if prepend:
        for number, other in others.items():
            del hooks[number]
            hooks[number] = other
    return handle


def call(module: HasForward, hooks: dict[int, Hook], args: Any, kwargs: dict[str, Any]) -> Any:
    """Run ``module.forward`` between its hooks, and tell who hears of every call."""
    observer = call_observer.get()
    if observer is None:
        return _between(module, [*hooks.values()], args, kwargs)
    observer.entered(module)
    try:
        if hooks:
            return _between(module, [*hooks.values()], args, kwargs)
        return module.forward(*args, **kwargs)
    finally:
        observer.left(module)


def _between(module: HasForward, hooks: Sequence[Hook], args: Any, kwargs: dict[str, Any]) -> Any:
    """Run ``module.forward`` between its hooks, in the order in which they were registered."""
    done: set[Hook] = set()
    try:
        for hook in _of(hooks, FORWARD_PRE):
            args, kwargs = _before(module, hook, args, kwargs)
        watch = _Backward.around(module, hooks)
        if watch is not None:
            args = watch.inputs(args)
        output = module.forward(*args, **kwargs)
        for hook in _of(hooks, FORWARD):
            done.add(hook)
            output = _after(module, hook, args, kwargs, output)
        return output if watch is None else watch.outputs(output)
    except Exception:
        for hook in _of(hooks, FORWARD):
            if hook.always_call and hook not in done:
                _after(module, hook, args, kwargs, None)
        raise


def _of(hooks: Sequence[Hook], kind: str) -> list[Hook]:
    return [h for h in hooks if h.kind == kind]


def _before(module: HasForward, hook: Hook, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
    if not hook.with_kwargs:
        found = hook.function(module, args)
        return (args if found is None else _tuple(found)), kwargs
    found = hook.function(module, args, kwargs)
    if found is None:
        return args, kwargs
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(
            f"a forward pre-hook with kwargs returns None or (args, kwargs); "
            f"{_named(hook)} of {type(module).__name__} returned {type(found).__name__}"
        )
    return found


def _after(module: HasForward, hook: Hook, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    given = (args, kwargs, output) if hook.with_kwargs else (args, output)
    found = hook.function(module, *given)
    return output if found is None else found


class _Backward:
    """Shows a call's gradients to the backward hooks: one look at its outputs, one at its inputs.

    The inputs pass through an identity, so that what is seen is this call's share of their
    gradient; one at the outputs waits until the gradients of all of them are known.
    """

    def __init__(self, module: HasForward, hooks: Sequence[Hook]) -> None:
        self.module = module
        self.first, self.last = _of(hooks, BACKWARD_PRE), _of(hooks, BACKWARD)
        self.count = 0
        self.tracked: list[int] = []
        self.received: tuple[Any, ...] | None = None

    @classmethod
    def around(cls, module: HasForward, hooks: Sequence[Hook]) -> _Backward | None:
        watch = cls(module, hooks)
        return watch if (watch.first or watch.last) and grad_enabled.get() else None

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.count = len(args)
        args, self.tracked = _pass_through(args, self._at_inputs)
        return args

    def outputs(self, output: Any) -> Any:
        values = output if isinstance(output, tuple) else (output,)
        if not any(isinstance(v, Tensor) for v in values):
            raise TypeError(
                f"backward hooks need a module that returns a Tensor or a tuple with Tensors; "
                f"{type(self.module).__name__} returned {type(output).__name__}: register them "
                f"on the modules inside it"
            )
        values, self.leaving = _pass_through(values, self._at_outputs)
        self.width = len(values)
        if not isinstance(output, tuple):
            return values[0]
        # A named tuple stays one.
        return type(output)(*values) if hasattr(output, "_fields") else values

    def _at_outputs(self, gs: Sequence[Any]) -> Sequence[Any]:
        received = _spread(gs, self.leaving, self.width)
        for hook in self.first:
            received = self._replaced(hook, hook.function(self.module, received), received)
        self.received = received
        if not self.tracked:
            for hook in self.last:
                hook.function(self.module, (None,) * self.count, received)
        return [received[i] for i in self.leaving]

    def _at_inputs(self, gs: Sequence[Any]) -> Sequence[Any]:
        if self.received is None:  # the outputs had no part in this backward pass
            return gs
        passed = _spread(gs, self.tracked, self.count)
        for hook in self.last:
            found = hook.function(self.module, passed, self.received)
            passed = self._replaced(hook, found, passed)
        self.received = None
        return [passed[i] for i in self.tracked]

    def _replaced(self, hook: Hook, found: Any, old: tuple[Any, ...]) -> tuple[Any, ...]:
        if found is None:
            return old
        new = tuple(g if g is None or isinstance(g, Tensor) else Tensor(g) for g in _tuple(found))
        shapes = [[None if g is None else g.shape for g in gs] for gs in (old, new)]
        same = len(new) == len(old) and all(
            a is None or b is None or a == b for a, b in zip(*shapes, strict=True)
        )
        if not same:
            raise GradError(
                f"the {hook.kind} hook {_named(hook)} of {type(self.module).__name__} returned "
                f"gradients of shapes {shapes[1]} for {shapes[0]}; return equal shapes, or None"
            )
        return new


def _pass_through(values: tuple[Any, ...], seen: Any) -> tuple[tuple[Any, ...], list[int]]:
    """Pass the tensors that require gradients through one identity; return also their places."""
    where = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
    if not where:
        return values, where
    passed = dict(zip(where, _identity(*(values[i] for i in where), seen=seen), strict=True))
    return tuple(passed.get(i, v) for i, v in enumerate(values)), where


def _pass(*arrays: Any, seen: Callable[[Sequence[Any]], Sequence[Any]]) -> Any:
    """Its inputs; their gradients are shown to ``seen``, which may return others."""
    forms = [(a.shape, a.dtype) for a in arrays]

    def vjp(wanted: tuple[bool, ...], *gs: Any) -> list[Any]:
        recorded = any(isinstance(g, Tensor) for g in gs)
        shown = seen([g if g is None or isinstance(g, Tensor) else Tensor(g) for g in gs])
        given = [
            Tensor(np.zeros(*form)) if g is None else g
            for g, form in zip(shown, forms, strict=True)
        ]
        return given if recorded else [g.array for g in given]

    return arrays, Joint(vjp)


# Not in the registry: it is no function of its inputs but what a call's hooks hang on.
_identity = Op(_pass, ("... -> ...",), None, (-2.0, 2.0), second_order=True)


def _spread(gs: Sequence[Any], where: Sequence[int], count: int) -> tuple[Any, ...]:
    spread: list[Any] = [None] * count
    for i, g in zip(where, gs, strict=True):
        spread[i] = g
    return tuple(spread)


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def refuse_captured(module: HasForward, hook: Hook) -> NoReturn:
    """Raise CaptureError for a hook that replays of a captured step would not call."""
    if (whose := getattr(hook.function, "whose", None)) is not None:
        raise CaptureError(f"a captured step cannot have {whose}")
    raise CaptureError(
        f"{_named(hook)}, a {hook.kind} hook of {type(module).__name__}, would not be called by "
        f"the replays of a captured step; remove it, or put what it does into forward()"
    )


def _named(hook: Hook) -> str:
    return repr(getattr(hook.function, "__name__", hook.function))
