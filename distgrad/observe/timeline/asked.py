"""A timeline of a whole program, asked for from outside: ``distgrad run --timeline FOLDER``."""

from __future__ import annotations

import atexit
import os
import sys
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from distgrad.comm import guard
from distgrad.parallel import World
from distgrad.parallel.world import on_join
from distgrad.switches import on

if TYPE_CHECKING:
    from distgrad.observe.timeline.recording import profile

VARIABLE = "DISTGRAD_TIMELINE"
"""Names the folder; ``DISTGRAD_TIMELINE_KERNELS=1`` asks for every op, too."""


def listen() -> None:
    """Look at the environment whenever a rank joins its world."""
    on_join.append(_begin_if_asked)


def _begin_if_asked(world: World) -> None:
    """Record from here, where a rank has joined its world, to its end. Collective if asked."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    from distgrad.observe.timeline.recording import profile  # noqa: PLC0415 (seldom used)

    found = profile(folder, kernels=on(os.environ, f"{VARIABLE}_KERNELS"), world=world)
    found.__enter__()
    state = world.comm.transport.state
    state.before_leaving.append(partial(_end, found))
    if world.size == 1:  # such a world ends without goodbye
        atexit.register(state.finish)
    if world.size == 1 or world.comm.transport.timed:  # of simulated ranks no process is one's own
        _end_with_an_exception(found)


def _end(found: profile) -> None:
    """Write the timeline, and say where it is and what it says."""
    found.__exit__(None, None, None)
    if found.world.rank == 0:
        label = found.world.comm.transport.state.label
        where = f"timeline: {found.folder}/trace.json, for https://ui.perfetto.dev"
        guard.say(f"{where}\n{found.summary()}", label)


def _end_with_an_exception(found: profile) -> None:
    """Let an exception that ends this rank's process write what the rank has until then."""
    others = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        try:
            found.world.comm.transport.state.before_leaving.clear()
            found.__exit__(kind, error, trace)
        finally:
            others(kind, error, trace)

    sys.excepthook = hook
