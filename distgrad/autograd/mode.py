"""Per-thread switches: is the tape recording, may fused twins run. Knows nothing of tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from distgrad.perrank import PerRank
from distgrad.switches import off

if TYPE_CHECKING:
    from contextlib import _GeneratorContextManager

P = ParamSpec("P")
T = TypeVar("T")
Switch: TypeAlias = "_GeneratorContextManager[None]"
"""A context manager, or a decorator that leaves the function's type alone."""

# Context variables, not globals: simulated ranks are threads of one process.
grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)
fused_enabled: ContextVar[bool] = ContextVar(
    "fused_enabled", default=not off(os.environ, "DISTGRAD_FUSED")
)
# What watches every op: ``detect_anomaly``, or the recorder of a captured step.
watching: ContextVar[Any] = ContextVar("watching", default=None)
# Who hears of every module's call: the recorder of a captured step, or a timeline.
call_observer: ContextVar[Any] = ContextVar("call_observer", default=None)
# Whether a stretch of the forward pass is being run again (``checkpoint``): what it observes
# (running statistics) was observed the first time.
recomputing: ContextVar[bool] = ContextVar("recomputing", default=False)
# Whether the calling rank runs the statements of a batch of which it has no sample, on arrays of
# length 0. A mean over nothing is then 0, not NaN: it counts with weight 0, and 0 * NaN is NaN.
empty_shard: ContextVar[bool] = ContextVar("empty_shard", default=False)
# How messages name the calling rank ("[rank 1/4] "); whoever knows ranks sets it.
rank_label: PerRank[str] = PerRank("")


def recorder() -> Any:
    """Return who records the step that the calling thread is in; None outside of one."""
    watcher = watching.get()
    return watcher if watcher is not None and watcher.records else None


@contextmanager
def switched(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Give ``variable`` another value inside."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def no_grad(function: Callable[P, T] | None = None) -> Any:
    """Record nothing inside: ``with no_grad():``, ``@no_grad()`` or ``@no_grad``."""
    return _switch(False, function)


def enable_grad(function: Callable[P, T] | None = None) -> Any:
    """Record again inside ``no_grad``: ``with enable_grad():``, ``@enable_grad``."""
    return _switch(True, function)


def inference_mode(mode: Any = True) -> Any:
    """``no_grad``: what is computed inside is an ordinary Tensor, also afterwards."""
    return no_grad(mode) if callable(mode) else switched(grad_enabled, not mode)


class set_grad_enabled:  # noqa: N801 (PyTorch's name)
    """Record from here on, or no longer; ``with set_grad_enabled(training):`` inside only."""

    def __init__(self, mode: bool) -> None:
        self._token = grad_enabled.set(bool(mode))

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        grad_enabled.reset(self._token)


def _switch(value: bool, function: Callable[P, T] | None) -> Any:
    switch = switched(grad_enabled, value)
    return switch if function is None else switch(function)


def reference_kernels() -> Switch:
    """Run the NumPy definition of every op inside, never its fused twin."""
    return switched(fused_enabled, False)


def is_grad_enabled() -> bool:
    """Whether operations on tensors are recorded in the calling thread."""
    return grad_enabled.get()
