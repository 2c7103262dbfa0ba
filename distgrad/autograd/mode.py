"""Per-thread switches: is the tape recording, may fused twins run. Knows nothing of tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from distgrad.perrank import PerRank

if TYPE_CHECKING:
    from contextlib import _GeneratorContextManager

T = TypeVar("T")
Switch: TypeAlias = "_GeneratorContextManager[None]"
"""A context manager, or a decorator that leaves the function's type alone."""

# Context variables, not globals: simulated ranks are threads of one process.
grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)
fused_enabled: ContextVar[bool] = ContextVar(
    "fused_enabled", default=os.environ.get("DISTGRAD_FUSED", "1") != "0"
)
# What watches for non-finite values, inside ``detect_anomaly``.
anomaly: ContextVar[Any] = ContextVar("anomaly", default=None)
# Whether a stretch of the forward pass is being run again (``checkpoint``): what it observes
# (running statistics) was observed the first time.
recomputing: ContextVar[bool] = ContextVar("recomputing", default=False)
# Whether the calling rank runs the statements of a batch of which it has no sample, on arrays of
# length 0. A mean over nothing is then 0, not NaN: it counts with weight 0, and 0 * NaN is NaN.
empty_shard: ContextVar[bool] = ContextVar("empty_shard", default=False)
# How messages name the calling rank ("[rank 1/4] "); whoever knows ranks sets it.
rank_label: PerRank[str] = PerRank("")


@contextmanager
def switched(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Give ``variable`` another value inside."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def no_grad() -> Switch:
    """Record nothing inside: ``with no_grad():`` or ``@no_grad()``."""
    return switched(grad_enabled, False)


def enable_grad() -> Switch:
    """Record again inside a ``no_grad`` block: ``with enable_grad():`` or ``@enable_grad()``."""
    return switched(grad_enabled, True)


def reference_kernels() -> Switch:
    """Run the NumPy definition of every op inside, never its fused twin."""
    return switched(fused_enabled, False)


def is_grad_enabled() -> bool:
    """Whether operations on tensors are recorded in the calling thread."""
    return grad_enabled.get()
