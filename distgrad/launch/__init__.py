"""``launch``: a function on several ranks, from a notebook's cell or any other program."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from distgrad.comm import connect, launchers, run_ranks
from distgrad.errors import LaunchError
from distgrad.launch import mpi

__all__ = ["launch"]


def launch(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    *,
    ranks: int | None = None,
    world: Literal["mpi", "simulate"] = "mpi",
) -> Any:
    """Call ``function(*args)`` on several ranks, and return what it returns on rank 0.

    With ``world="mpi"`` each rank is a process of its own (started by ``distgrad run`` on this
    machine; one for each core if ``ranks`` is left out), with "simulate" a thread of this one: for
    a debugger, or a small model. ``function`` calls ``dg.init()``. What ranks print, and their
    progress, is shown here. The first exception of a rank is raised, with the rank's name;
    interrupting the cell (Ctrl-C) interrupts the ranks.
    A function that is defined in a notebook or in the script itself, a lambda, or one inside
    another, is handed to other processes by cloudpickle (``pip install 'distgrad[notebook]'``).
    Errors: LaunchError if it cannot be, if this process is a rank, or if the job ends without an
    exception of Python's.
    """
    if world not in ("mpi", "simulate"):
        raise LaunchError(f"world='{world}': 'mpi' (processes) or 'simulate' (threads of this one)")
    if launchers.started(os.environ) is not None or connect().size > 1:
        raise LaunchError("launch starts ranks, and this process is one: call the function itself")
    ranks = launchers.cores() if ranks is None else ranks
    if world == "mpi":
        return mpi.launch(function, args, ranks)
    return _simulate(function, args, ranks)


def _simulate(function: Callable[..., Any], args: Sequence[Any], ranks: int) -> Any:
    failed: list[tuple[int, Exception]] = []
    lock = threading.Lock()

    def body() -> Any:
        try:
            return function(*args)
        except Exception as error:
            with lock:
                failed.append((connect().rank, error))
            raise

    try:
        return run_ranks(ranks, body)[0]
    except Exception as error:
        rank = next((rank for rank, caught in failed if caught is error), None)
        if rank is not None and error.__cause__ is None:
            raise error from LaunchError(f"[rank {rank}/{ranks}] of a simulated world failed")
        raise
