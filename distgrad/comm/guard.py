"""How a rank ends: an exception ends the whole job, a quiet exit is announced to the others.

It knows the transport's notices and nothing of MPI.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from types import TracebackType

from distgrad.comm import neighbours
from distgrad.comm.launchers import INTERRUPT
from distgrad.comm.stacks import SECONDS, RollCall
from distgrad.comm.transport import Transport
from distgrad.console import columns_of, wrapped
from distgrad.errors import DistgradError

_TOLD = 4  # ranks that are listed


def say(text: str, label: str) -> None:
    """Write text to stderr in one piece, each line tagged with the rank."""
    tagged = "".join(f"{label} {line}\n" for line in text.rstrip("\n").split("\n"))
    # A warning must not end the run because the log's disk is full, or nobody listens any more.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        # One write: lines of several ranks do not mix.
        sys.stderr.write(wrapped(tagged, columns_of(sys.stderr)))
        sys.stderr.flush()


def report(error: BaseException, label: str) -> None:
    """Print an exception's traceback to stderr, each line tagged ``[rank 1/4]``."""
    say("".join(traceback.format_exception(type(error), error, error.__traceback__)), label)


def install(transport: Transport) -> None:
    """Make an uncaught exception on this rank, in any thread, end the job; say goodbye at exit."""
    owner = os.getpid()
    label = transport.state.label
    plain_hook, plain_thread_hook = sys.excepthook, threading.excepthook
    ending = threading.Lock()  # never released: only the first exception is told

    def end(error: BaseException) -> None:
        if not ending.acquire(blocking=False):
            time.sleep(60)  # another thread is ending the job this very moment
        if error is transport.state.peer_error:
            # The rank this comes from speaks first and ends the job; of a thousand ranks that
            # all miss the same one, the first speaks for all.
            time.sleep(min(0.5 + 0.5 * transport.rank, 2.0))
        elif isinstance(error, DistgradError) and error.of_all_ranks and transport.rank:
            time.sleep(2.0)
        try:
            report(error, label)
            time.sleep(0.2)  # launchers kill faster than they forward output: 1 in 20 was lost
        finally:
            transport.abort(130 if isinstance(error, KeyboardInterrupt) else 1)

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if os.getpid() != owner:  # a forked child is no rank
            plain_hook(kind, error, trace)
        else:
            end(error)

    def thread_hook(args: threading.ExceptHookArgs) -> None:
        leaving = args.exc_type is SystemExit or args.exc_value is None
        if leaving or os.getpid() != owner:
            plain_thread_hook(args)
        elif args.exc_value is not None:
            end(args.exc_value)

    def leave() -> None:
        if os.getpid() == owner:
            try:
                transport.state.finish()
            except BaseException as error:
                end(error)
            transport.announce(transport.state.goodbye())
            try:
                _wait_for_all(transport)
            except BaseException as error:  # Ctrl-C: Python would go on to MPI_Finalize
                end(error)

    _take_interrupts()
    sys.excepthook = hook
    threading.excepthook = thread_hook
    atexit.register(leave)


def _take_interrupts() -> None:
    """Let the signal that ``distgrad run`` has passed on to all ranks be this rank's Ctrl-C."""
    free = signal.getsignal(INTERRUPT) is signal.SIG_DFL
    if free and threading.current_thread() is threading.main_thread():
        signal.signal(INTERRUPT, lambda number, frame: signal.raise_signal(signal.SIGINT))


def _wait_for_all(transport: Transport) -> None:
    """Stay reachable until every rank has said goodbye.

    A rank that left earlier would sit in MPI_Finalize, deaf to a job that ends badly.
    """
    state = transport.state
    since, roll_call, told = time.monotonic(), None, False
    lead = min(SECONDS, state.warn_after / 2)
    while len(state.departed) < state.size - 1:
        idle = time.monotonic() - since
        transport.back_off(idle)
        # Of the ranks that are through the first one tells it.
        first = state.rank == min([state.rank, *state.departed])
        if told or not first or idle < state.warn_after - lead:
            continue
        missing = sorted(set(range(state.size)) - {state.rank, *state.departed})
        if roll_call is None:
            roll_call = RollCall(transport, missing)
        elif idle > state.warn_after:
            told = True
            states = ((rank, neighbours.stopped(rank)) for rank in missing[:_TOLD])
            ranks = ", ".join(f"{rank} ({state})" if state else str(rank) for rank, state in states)
            more = f" and {len(missing) - _TOLD} more" if len(missing) > _TOLD else ""
            text = f"has finished and waits for rank {ranks}{more} to finish as well"
            say(f"{text}\n{roll_call.report({})}", state.label)
