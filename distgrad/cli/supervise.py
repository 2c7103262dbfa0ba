"""Waits for mpirun in the place of the terminal, so that Ctrl-C reaches the ranks and not mpirun.

Open MPI's mpirun kills its ranks a fraction of a second after a Ctrl-C and ends with status 1: no
rank can save anything, and no shell sees an interrupt. MPICH's needs none of this.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from distgrad.comm.launchers import INTERRUPT

INTERRUPTED = 128 + signal.SIGINT
"""The exit status of a job that was ended by Ctrl-C."""

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, of <sys/prctl.h>


def supervise(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run Open MPI's mpirun to its end and return the job's exit status, or INTERRUPTED.

    The first Ctrl-C interrupts the ranks, the second ends the job at once. Other signals are
    mpirun's.
    """
    presses = 0

    def press(number: int, frame: Any) -> None:
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

    def pass_on(number: int, frame: Any) -> None:
        process.send_signal(number)

    # mpirun stays in the foreground, where it may read the terminal. It inherits that SIGINT is
    # blocked, and unblocks all signals in the ranks.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process = subprocess.Popen(
        command,
        env=environment,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - there are no threads but BLAS's
    )
    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    signal.signal(signal.SIGINT, press)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    status = process.wait()
    if presses:
        return INTERRUPTED
    return 128 - status if status < 0 else status


def _end_with_parent() -> None:
    """Let mpirun end when ``distgrad run`` is killed, as it would if it had been started alone."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
