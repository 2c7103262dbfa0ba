"""The hooks around an optimizer's ``step``, ``state_dict`` and ``load_state_dict``, as PyTorch's.

They wrap the methods of every subclass, so that an optimizer which writes its own ``step`` has them
too. Knows no parameter and no formula.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distgrad.autograd.apart import apart
from distgrad.autograd.handle import RemovableHandle
from distgrad.optim.own_state import state_of
from distgrad.tracing import tracer

Hook = Callable[..., Any]
Hooks = dict[str, dict[int, Hook]]

STEP_PRE, STEP_POST = "step pre", "step post"
SAVE_PRE, SAVE_POST = "state_dict pre", "state_dict post"
LOAD_PRE, LOAD_POST = "load_state_dict pre", "load_state_dict post"

_everywhere: Hooks = {STEP_PRE: {}, STEP_POST: {}}


def register_optimizer_step_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before every step of every optimizer."""
    return RemovableHandle(_everywhere[STEP_PRE], hook)


def register_optimizer_step_post_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after every step of every optimizer."""
    return RemovableHandle(_everywhere[STEP_POST], hook)


def is_hooked(optimizer: Hooked) -> bool:
    """Whether someone wants to know of the steps of ``optimizer``, or of its state."""
    return "_hooks" in vars(optimizer) or bool(_everywhere[STEP_PRE] or _everywhere[STEP_POST])


class Hooked:
    """What an optimizer is besides its formula: who wants to know when it does something."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, around in _AROUND.items():
            if name in vars(cls):
                setattr(cls, name, around(vars(cls)[name]))

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step.

        ``args`` begins with the optimizer. A tuple (args, kwargs) that the hook returns takes the
        place of both.
        """
        return self._register(STEP_PRE, hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return self._register(STEP_POST, hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` before the state is collected."""
        return self._register(SAVE_PRE, hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` with what was collected; it may return another."""
        return self._register(SAVE_POST, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before loading; it may return another state.

        The dictionary is a copy; what is in it is not.
        """
        return self._register(LOAD_PRE, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer)`` after a state was loaded."""
        return self._register(LOAD_POST, hook, prepend)

    def _register(self, kind: str, hook: Hook, prepend: bool = False) -> RemovableHandle:
        # Made on first use: an optimizer around another need not call this class's constructor.
        every: Hooks = vars(self).setdefault("_hooks", {})
        hooks = every.setdefault(kind, {})
        others = dict(hooks)
        handle = RemovableHandle(hooks, hook)
        if prepend:
            for number, other in others.items():
                del hooks[number]
                hooks[number] = other
        return handle

    def _hooks_of(self, kind: str) -> list[Hook]:
        return [*vars(self).get("_hooks", {}).get(kind, {}).values()]

    def __getstate__(self) -> dict[str, Any]:
        """What copy.deepcopy and pickle take over: all but the hooks, as in PyTorch."""
        return {k: v for k, v in vars(self).items() if k not in ("_hooks", "_busy")}

    def _step_is_over(self) -> None:
        """Called after ``step``, once or more often."""

    def _between_hooks(self, step: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run ``step`` between the hooks; inside another step of this optimizer without them."""
        with self._doing("step") as outermost:
            if not outermost:
                return step(self, *args, **kwargs)
            args = (self, *args)
            for hook in [*_everywhere[STEP_PRE].values(), *self._hooks_of(STEP_PRE)]:
                found = hook(self, args, kwargs)
                if found is not None:
                    args, kwargs = _checked(hook, found)
            result = step(*args, **kwargs)
            self._step_is_over()
            for hook in [*self._hooks_of(STEP_POST), *_everywhere[STEP_POST].values()]:
                hook(self, args, kwargs)
            return result

    @contextmanager
    def _doing(self, what: str) -> Iterator[bool]:
        """Say whether this is the outermost call: ``super().step()`` inside a step runs no hook."""
        busy: set[str] = vars(self).setdefault("_busy", set())
        outermost = what not in busy
        busy.add(what)
        try:
            yield outermost
        finally:
            if outermost:
                busy.discard(what)


def _around_step(step: Callable[..., Any]) -> Callable[..., Any]:
    @apart
    @functools.wraps(step)
    def hooked(self: Hooked, *args: Any, **kwargs: Any) -> Any:
        listener = tracer.get()
        if listener is not None:
            listener.begin("optimizer", type(self).__name__)
        try:
            if is_hooked(self):
                return self._between_hooks(step, args, kwargs)
            result = step(self, *args, **kwargs)  # the usual case, at no cost
            self._step_is_over()
            return result
        finally:
            if listener is not None:
                listener.end("optimizer")

    return hooked


def _around_state_dict(state_dict: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(state_dict)
    def hooked(self: Hooked) -> Any:
        with self._doing("state_dict") as outermost:
            if not outermost:
                return state_dict(self)
            for hook in self._hooks_of(SAVE_PRE):
                hook(self)
            state = state_dict(self)
            for hook in self._hooks_of(SAVE_POST):
                found = hook(self, state)
                state = state if found is None else found
            return state

    return hooked


def _around_load_state_dict(load_state_dict: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(load_state_dict)
    def hooked(self: Hooked, state_dict: Any) -> Any:
        with self._doing("load_state_dict") as outermost:
            if not outermost:
                return load_state_dict(self, state_dict)
            state = dict(state_of(type(self).__name__, state_dict))
            for hook in self._hooks_of(LOAD_PRE):
                found = hook(self, state)
                state = state if found is None else found
            load_state_dict(self, state)
            for hook in self._hooks_of(LOAD_POST):
                hook(self)
        return None

    return hooked


_AROUND = {
    "step": _around_step,
    "state_dict": _around_state_dict,
    "load_state_dict": _around_load_state_dict,
}


def _checked(hook: Hook, found: Any) -> tuple[Any, Any]:
    if not isinstance(found, tuple) or len(found) != 2:
        name = getattr(hook, "__name__", repr(hook))
        raise TypeError(
            f"a step pre-hook returns None or (args, kwargs), with the optimizer first in args; "
            f"{name} returned {type(found).__name__}"
        )
    return found
