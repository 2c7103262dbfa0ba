"""A terminal whose last line is live: it is drawn again and again, and all else goes above it.

The cursor stays at the line's first column. So when a narrower terminal breaks the line into two,
the cursor stands before both, and erasing from there to the end takes all of it away.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

ERASE = b"\r\x1b[J"
"""Takes away the live line, wherever in it the cursor is."""


_drawn: set[int] = set()  # the screens of this process that have a live line now


def begin_line() -> bytes:
    """Return what brings a terminal to the beginning of a line, for a signal's handler."""
    return ERASE if _drawn else b"\n"


class Screen:
    """The terminal behind a file descriptor, on which one line is live.

    Others may write to the same terminal if it is through ``write``.
    """

    def __init__(self, fd: int, *, draw: Callable[[int], str], encoding: str = "utf-8") -> None:
        self.fd, self._draw, self._encoding = fd, draw, encoding
        self._lock = threading.RLock()
        self._live = False
        self._at_start = True  # of a line; in the midst of one nothing is drawn
        self._width = 0

    @property
    def width(self) -> int:
        """Columns of the terminal, less one: a full line makes some of them go to the next."""
        try:
            return max(1, (os.get_terminal_size(self.fd).columns or 80) - 1)
        except OSError:
            return 79

    def show(self) -> None:
        """Draw the live line, unless somebody has left a line unfinished."""
        with self._lock:
            self._live = True
            if not self._at_start:
                return
            self._width = self.width
            line = self._draw(self._width).encode(self._encoding, "replace")
            write_all(self.fd, b"\r" + line + b"\x1b[J\r")
            _drawn.add(id(self))

    def follow(self) -> None:
        """Draw the live line where it is due: the width has changed, or a line has ended."""
        with self._lock:
            if self._live and (not self._is_drawn or self._width != self.width):
                self.show()

    def write(self, data: bytes, fd: int | None = None) -> None:
        """Write above the live line; through another descriptor of the same terminal if given."""
        if not data:
            return
        with self._lock:
            if self._is_drawn:
                write_all(self.fd, ERASE)
                _drawn.discard(id(self))
            write_all(self.fd if fd is None else fd, data)
            self._at_start = data.endswith(b"\n")

    def clear(self, *, keep: bool = False) -> None:
        """End the live line: take it away, or ``keep`` it as it is."""
        with self._lock:
            if self._is_drawn:
                write_all(self.fd, b"\r\n" if keep else ERASE)
            self._live = False
            _drawn.discard(id(self))

    @property
    def _is_drawn(self) -> bool:
        return id(self) in _drawn


def write_all(fd: int, data: bytes) -> None:
    """Write all of it; a terminal that was closed is no reason to stop."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(fd, data) :]
