"""The thread by which a rank that computes hears what the others announce, about once a second.

While the rank waits it listens itself, and the thread does nothing. It knows nothing of MPI.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

PERIOD = 1.0  # seconds


class Listener:
    """Calls ``listen(now, period)``, which returns at once if someone else has just listened."""

    def __init__(self, listen: Callable[[float, float], None]) -> None:
        self._listen = listen
        self._over = threading.Event()
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._run, name="distgrad listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Return when it listens no more: before MPI ends, or it would call a dead library."""
        if os.getpid() == self._owner:  # a forked child has no such thread
            self._over.set()
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(PERIOD):
            self._listen(time.monotonic(), PERIOD)
