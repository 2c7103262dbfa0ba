"""Stands between Open MPI's mpirun and the shell, for three things that mpirun does not do well.

A fraction of a second after a Ctrl-C it kills its ranks and ends with status 1: no rank can save
anything, no shell sees an interrupt. When a host is lost it ends with status 0, as after a
success. And under nohup it ends with the terminal all the same. MPICH's mpiexec needs none of this.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from types import FrameType

from distgrad.comm.launchers import INTERRUPT, LOST_HOST

INTERRUPTED = 128 + signal.SIGINT
"""The exit status of a job that was ended by Ctrl-C."""

LOST = 75
"""The exit status of a job that lost a host: EX_TEMPFAIL of <sysexits.h>, "try again"."""

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, of <sys/prctl.h>


def supervise(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run Open MPI's mpirun to its end and return the job's exit status, or INTERRUPTED, or LOST.

    The first Ctrl-C interrupts the ranks, the second ends the job at once. Other signals are
    mpirun's.
    """
    presses = 0

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        # mpirun passes INTERRUPT on to the ranks of all hosts; no launcher passes on SIGINT.
        process.send_signal(INTERRUPT if presses == 1 else signal.SIGTERM)
        if presses == 1:
            print(
                "distgrad: interrupting the ranks; Ctrl-C again ends them at once",
                file=sys.stderr,
                flush=True,
            )

    def pass_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    is_deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as nohup has it
    # mpirun stays in the foreground, where it may read the terminal. It inherits that SIGINT is
    # blocked, and unblocks all signals in the ranks.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process = subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        preexec_fn=partial(_begin, alone=is_deaf),  # noqa: PLW1509 - no threads but BLAS's
    )
    for number in _PASSED_ON:
        if not (is_deaf and number == signal.SIGHUP):
            signal.signal(number, pass_on)
    signal.signal(signal.SIGINT, press)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    lost = _relay_errors(process)
    status = process.wait()
    if presses:
        return INTERRUPTED
    if lost and status == 0:
        return LOST
    return 128 - status if status < 0 else status


def _relay_errors(process: subprocess.Popen[bytes]) -> bool:
    """Copy mpirun's stderr to this one until it ends; return whether a host was said to be lost."""
    assert process.stderr is not None
    pipe, tail, lost = process.stderr.fileno(), b"", False
    while True:
        # A remote shell that hangs may hold the pipe open: mpirun's end is looked for as well.
        ended = process.poll() is not None
        if not select.select([pipe], [], [], 0 if ended else 0.2)[0]:
            if ended:
                return lost
            continue
        data = os.read(pipe, 65536)
        if not data:
            return lost
        _write(data)
        tail = tail[-len(LOST_HOST) :] + data
        lost = lost or LOST_HOST.encode() in tail


def _write(data: bytes) -> None:
    with contextlib.suppress(OSError):  # a closed terminal is no reason to leave mpirun waiting
        while data:
            data = data[os.write(sys.stderr.fileno(), data) :]


def _begin(alone: bool) -> None:
    """Let mpirun end when ``distgrad run`` is killed, as it would if it had been started alone.

    ``alone``, it is out of reach of the signal that a terminal sends to a job when it closes.
    """
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if alone:
        os.setpgid(0, 0)
