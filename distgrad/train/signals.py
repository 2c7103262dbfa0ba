"""Signals that only ask for something: noted by the rank, not by children that it forks."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from signal import Signals
from types import FrameType
from typing import Any

from distgrad.comm import hears_interrupts, launchers
from distgrad.errors import Interrupted
from distgrad.observe.terminal import begin_line, resuming
from distgrad.parallel import ShardSum, World
from distgrad.train.state import TrainState

STOPS = {
    Signals.SIGINT: "Ctrl-C (SIGINT)",
    Signals.SIGTERM: "SIGTERM",
    Signals.SIGUSR1: "SIGUSR1",
}
"""The signals that ask a training to stop, the most urgent first, and what users call them.

The last two are sent by batch systems before they kill. Open MPI's mpirun kills its ranks 0.2 s
after a SIGTERM; SIGUSR1 it only passes on.
"""


class StopRequests:
    """The signals that have asked this rank, and all ranks together, to stop."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.names = [number.name for number in STOPS]
        """What ``own`` is called in a sum over the ranks."""
        self.agreed: Signals | None = None
        """The most urgent that any rank was sent; the same on all ranks."""
        self._came: set[Signals] = set()
        self._tells = world.rank == 0 and launchers.started(os.environ) is None

    def own(self) -> dict[str, float]:
        """Return which signals have come to this rank, as numbers to be summed."""
        return dict.fromkeys(self.names, 0.0) | {number.name: 1.0 for number in self._came}

    def hear(self, sums: Mapping[str, float]) -> None:
        """Take note of the sums over all ranks."""
        came = (number for number, name in zip(STOPS, self.names, strict=True) if sums[name])
        self.agreed = next(came, None)

    @property
    def reason(self) -> str:
        """Why the ranks stop; "" if no signal has asked for it."""
        return "" if self.agreed is None else STOPS[self.agreed]

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Note the signals that come from here on, instead of what they do otherwise.

        The second Ctrl-C does what it does otherwise. On a simulated rank only Ctrl-C is heard.
        """
        self._came.clear()  # one that ended an earlier fit is over
        self.agreed = None
        if threading.current_thread() is not threading.main_thread():
            with hears_interrupts(lambda: self._note(Signals.SIGINT)):
                yield
        else:
            with noted([number for number in STOPS if not _ignores_ctrl_c(number)], self._note):
                yield
            if Signals.SIGINT in self._came and self.agreed is not Signals.SIGINT:
                signal.raise_signal(Signals.SIGINT)  # it came too late for the ranks to agree on

    def end(self, state: TrainState, folder: str | None, say: Callable[[str], None]) -> None:
        """Say where a signal has ended the run. Errors: Interrupted if it was Ctrl-C; collective.

        ``say`` shows it, on one rank.

        Whoever pressed it wants the program to end; SIGTERM and SIGUSR1 leave that to the program.
        """
        # One more sum, for a Ctrl-C that came when the last step's was over.
        sums = ShardSum(self.world, *self.names)
        sums.add(**self.own())
        self.hear(sums.result())
        interrupted = self.agreed is Signals.SIGINT
        if not interrupted and state.stopped not in STOPS.values():
            return  # it had ended by itself
        state.stopped = self.reason
        command = resuming()
        where = (
            f"stopped at step {state.step}; nothing was saved: that takes Trainer(checkpoint=…)"
            if folder is None
            else f"saved step {state.step} to {folder}; resume with"
            + (f"\n  {command}" if command else " fit(resume=True)")
        )
        say(f"{self.reason}: {where}")
        if interrupted:
            self.world.comm.barrier()  # no rank ends the job before rank 0 has said it
            raise Interrupted(where)

    def _note(self, number: Signals) -> bool:
        again = number is Signals.SIGINT and number in self._came
        self._came.add(number)
        if number is Signals.SIGINT and self._tells and not again:
            with contextlib.suppress(OSError):  # there may be no stderr
                # Not print: the signal may have come in the middle of one.
                text = b"distgrad: stopping after this step; Ctrl-C again ends it at once\n"
                os.write(2, begin_line() + text)
        return not again


def _ignores_ctrl_c(number: Signals) -> bool:
    """Whether this process was told to live on when others on its terminal are interrupted."""
    return number is Signals.SIGINT and signal.getsignal(number) is signal.SIG_IGN


# What the signals did before, for a forked child: a worker of multiprocessing that only notes
# SIGTERM outlives its terminate(), and its parent waits for it for ever.
_before: list[dict[Signals, Any]] = []


@contextmanager
def noted(signals: Sequence[Signals], note: Callable[[Signals], bool]) -> Iterator[None]:
    """Call ``note`` instead of what the signals do, in this process; main thread only.

    Where it returns False they do what they did before, from then on.
    """

    def take(number: int, frame: FrameType | None) -> None:
        if not note(Signals(number)):
            _restore({Signals(number): old[Signals(number)]})
            signal.raise_signal(number)

    old = {number: signal.signal(number, take) for number in signals}
    _before.append(old)
    try:
        yield
    finally:
        if old in _before:  # not so in a forked child
            _before.remove(old)
            _restore(old)


def _restore(old: dict[Signals, Any]) -> None:
    for number, handler in old.items():
        # None: a handler that was not set by Python, which cannot be set by it either.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


# A signal that comes to a child before it has its handlers back would be noted there and lost, so
# they are held up in between.
_masks: list[set[Any]] = []


def _hold() -> None:
    _masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, {n for old in _before for n in old}))


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop())


def _undo() -> None:
    while _before:
        old = _before.pop()
        _restore(old)
        if Signals.SIGINT in old:
            _pass_one_over(Signals.SIGINT, old)
    _release()


def _pass_one_over(number: Signals, old: Mapping[Signals, Any]) -> None:
    # A terminal interrupts children, too. The step that Ctrl-C lets end may need its workers.
    signal.signal(number, lambda *_: _restore({number: old[number]}))


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_undo)
