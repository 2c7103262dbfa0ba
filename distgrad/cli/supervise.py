"""Stands between mpirun and the shell, for what mpirun does not do well.

A fraction of a second after a Ctrl-C Open MPI's kills its ranks and ends with status 1: no rank can
save anything, no shell sees an interrupt. When a host is lost it ends with status 0, as after a
success. And under nohup it ends with the terminal all the same. MPICH's mpiexec needs none of this.
Neither gives its ranks a terminal: the live line is drawn here (``relay``).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import FrameType

from distgrad.cli.relay import Relay
from distgrad.comm.launchers import INTERRUPT, LOST_HOST

INTERRUPTED = 128 + signal.SIGINT
"""The exit status of a job that was ended by Ctrl-C."""

LOST = 75
"""The exit status of a job that lost a host: EX_TEMPFAIL of <sysexits.h>, "try again"."""

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, of <sys/prctl.h>
_BY_A_PROCESS = 0  # SI_USER, of <bits/siginfo-consts.h>


def supervise(command: Sequence[str], environment: Mapping[str, str], *, live: bool) -> int:
    """Run Open MPI's mpirun to its end and return the job's exit status, or INTERRUPTED, or LOST.

    The first Ctrl-C interrupts the ranks, the second ends the job at once. Other signals are
    mpirun's. ``live``, this terminal shows what the ranks' marks ask for.
    """
    presses, told = 0, False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        # mpirun passes INTERRUPT on to the ranks of all hosts; no launcher passes on SIGINT.
        process.send_signal(INTERRUPT if presses == 1 else signal.SIGTERM)

    def say_once() -> None:
        nonlocal told
        if presses and not told:
            told = relay.complaints.understood = True
            relay.say("distgrad: interrupting the ranks; Ctrl-C again ends them at once")

    is_deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as nohup has it
    # mpirun stays in the foreground, where it may read the terminal. It inherits that SIGINT is
    # blocked, and unblocks all signals in the ranks.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process = _start(command, environment, live, partial(_begin, alone=is_deaf))
    relay = Relay(process, live=live, listens_for=LOST_HOST.encode())
    _pass_on(process, deaf=is_deaf)
    signal.signal(signal.SIGINT, press)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    relay.run(say_once)
    status = process.wait()
    if presses:
        return INTERRUPTED
    if relay.heard and status == 0:
        return LOST
    return 128 - status if status < 0 else status


def watch(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run MPICH's mpiexec to its end, showing what the ranks' marks ask for; return its status.

    All signals are mpiexec's. A terminal sends it SIGINT itself; one from a process is passed on.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process = _start(command, environment, True, _begin_unblocked)
    _pass_on(process, deaf=False)

    def pass_interrupt_on() -> None:
        came = signal.sigtimedwait({signal.SIGINT}, 0)
        if came is not None and came.si_code == _BY_A_PROCESS:
            process.send_signal(signal.SIGINT)

    Relay(process, live=True).run(pass_interrupt_on)
    status = process.wait()
    return 128 - status if status < 0 else status


def _start(
    command: Sequence[str], environment: Mapping[str, str], live: bool, begin: Callable[[], None]
) -> subprocess.Popen[bytes]:
    # What is printed has to pass by the live line, if both are on one terminal.
    on_terminal = live and sys.stdout is not None and sys.stdout.isatty()
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE if on_terminal else None,
        stderr=subprocess.PIPE,
        preexec_fn=begin,  # noqa: PLW1509 - no threads but BLAS's
    )


def _pass_on(process: subprocess.Popen[bytes], *, deaf: bool) -> None:
    for number in _PASSED_ON:
        if not (deaf and number == signal.SIGHUP):
            signal.signal(number, lambda number, frame: process.send_signal(number))


def _begin(alone: bool) -> None:
    """Let mpirun end when ``distgrad run`` is killed, as it would if it had been started alone.

    ``alone``, it is out of reach of the signal that a terminal sends to a job when it closes.
    """
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if alone:
        os.setpgid(0, 0)


def _begin_unblocked() -> None:
    _begin(alone=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
