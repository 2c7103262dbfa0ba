"""Who hears of what a rank does, and when: nobody, or a timeline.

What is worth a line in a timeline says so here; who draws it is known above. Without a listener it
costs one look at a context variable, and nothing in the path of an op.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Tracer(Protocol):
    """Who hears of it; all times are ``time.perf_counter()``'s."""

    def begin(self, kind: str, name: str = "") -> None:
        """Something begins: ``kind`` is what (``KINDS``), ``name`` which."""

    def end(self, kind: str) -> None:
        """What began last, which is of this kind, is over."""

    def stepped(self) -> None:
        """An optimizer has moved the parameters in the captured step that has just ended."""

    def was(self, kind: str, name: str, begun: float, ended: float) -> None:
        """Something is over that is told of afterwards."""

    def walking(self, nodes: Iterable[Any]) -> Iterator[Any]:
        """Yield a graph's nodes, newest first, as backward comes to them."""

    def started(self, context: str, number: int, what: str) -> None:
        """Collective ``number`` of ``context`` is under way, or has come to its next stage."""

    def completed(self, context: str, number: int) -> None:
        """It is complete."""


KINDS = {
    "data": "reading data",
    "forward": "forward",
    "backward": "backward",
    "reduction": "finishing the sums of gradients",
    "waiting": "waiting for others",
    "transfer": "transfer",
    "clipping": "clipping",
    "optimizer": "optimizer",
    "captured step": "captured step",
    "recording": "recording a captured step",
    "evaluation": "evaluation",
    "checkpoint": "checkpoint",
    "span": "spans of your own",
}
"""What a rank does, by the words of a summary."""

tracer: ContextVar[Tracer | None] = ContextVar("tracer", default=None)
# A context variable, not a global: simulated ranks are threads of one process.


@contextmanager
def span(name: str, kind: str = "span") -> Iterator[None]:
    """Show what is done inside under ``name`` in a timeline, if one is being recorded."""
    listener = tracer.get()
    if listener is None:
        yield
        return
    listener.begin(kind, name)
    try:
        yield
    finally:
        listener.end(kind)


def traced(kind: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare what a function's calls are in a timeline."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            listener = tracer.get()
            if listener is None:
                return function(*args, **kwargs)
            listener.begin(kind)
            try:
                return function(*args, **kwargs)
            finally:
                listener.end(kind)

        return call

    return decorate
