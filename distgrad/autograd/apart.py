"""What a step does beside the tape, said for those who record whole steps (``capture``).

An op is on record by itself. A function that reads or makes values outside of ops (a draw, a mask,
an optimizer's step) is declared here, so that a recorded step calls it again each time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from distgrad.autograd.mode import recorder, watching

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")


def apart(function: Callable[P, R]) -> Callable[P, R]:
    """Declare that ``function`` works on values outside of ops; no gradient flows through it.

    Its arguments are what it depends on: Tensors and arrays among them, also in lists, may be
    results of the step; anything else is the same at every call. Tensors and arrays that it
    returns are the step's from then on.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        watcher = watching.get()
        if watcher is None or not watcher.records:  # as ``recorder``, without a call
            return function(*args, **kwargs)
        found: R = watcher.apart(function, args, kwargs)
        return found

    call.declared = function  # type: ignore[attr-defined]
    return call


def declared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that was declared apart, by which a recorder knows its calls."""
    found: Callable[..., Any] = function.declared  # type: ignore[attr-defined]
    return found


def keeps_form(function: Callable[P, R]) -> Callable[P, R]:
    """Declare that shapes and dtypes of what ``function`` returns depend on those it is given.

    What computes with the results may then be planned when a step is recorded.
    """
    function.keeps_form = True  # type: ignore[attr-defined]
    return function


def keeps_gradients(function: Callable[P, R]) -> Callable[P, R]:
    """Declare that ``function`` leaves gradients where they are: it changes their values alone.

    What comes after it may then be planned when a step is recorded.
    """
    function.keeps_gradients = True  # type: ignore[attr-defined]
    return function


def of_settings(function: Callable[P, R]) -> Callable[P, R]:
    """Declare that numbers are always the same that ``function`` returns for the same settings."""
    function.of_settings = True  # type: ignore[attr-defined]
    return function


def fixed(array: A) -> A:
    """Declare that an array depends on shapes and settings alone: a recorded step may keep it."""
    recording = recorder()
    if recording is not None:
        recording.fixed(array)
    return array


def count_of(x: Any, axis: int = 0) -> int:
    """Return the length of an axis as a number to compute with.

    Where it depends on values, as that of ``x[mask]``, a recorded step looks at it in each replay.
    """
    length: int = x.shape[axis]
    return length
