"""``distgrad`` as a child that ends with its parent: python -m distgrad.launch.child PID WORDS."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, of <sys/prctl.h>

if __name__ == "__main__":
    # A kernel that is restarted is killed, and would leave the ranks behind.
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)  # it had ended before
    os.execv(sys.executable, [sys.executable, "-m", "distgrad", *sys.argv[2:]])
