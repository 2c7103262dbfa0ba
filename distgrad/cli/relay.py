"""Passes on what mpirun says, to its last word; on a terminal the live line stays below it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable

from distgrad.cli.complaints import Complaints
from distgrad.console import wrapped
from distgrad.observe.terminal import Reader, obey
from distgrad.observe.terminal.displays import Terminal
from distgrad.observe.terminal.screen import write_all

_TICK = 0.2  # seconds
_TAGGED = re.compile(rb"^\[rank \d+/\d+\] [^\n]*(?=\n)", re.MULTILINE)


class Relay:
    """Copies a process's stderr to this one's, and its stdout if that is a pipe.

    ``live``, stderr is a terminal, and marks are obeyed. ``heard`` is whether stderr has said
    ``listens_for``.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], *, live: bool, listens_for: bytes = b""
    ) -> None:
        self._process, self._listens_for, self._tail = process, listens_for, b""
        self.heard = False
        self.complaints = Complaints()
        self._terminal = Terminal(sys.stderr.fileno(), sys.stderr.encoding) if live else None
        self._reader = Reader()
        assert process.stderr is not None
        self._errors = process.stderr.fileno()
        # Where what comes through a pipe goes to.
        self._ways = {self._errors: sys.stderr.fileno()}
        if process.stdout is not None:
            self._ways[process.stdout.fileno()] = sys.stdout.fileno()

    def run(self, tick: Callable[[], None] = lambda: None) -> None:
        """Copy until the process has ended and all is said; call ``tick`` now and then.

        What ``tick`` says comes before what the process says next.
        """
        ways = [*self._ways]
        while ways:
            # A remote shell that hangs may hold a pipe open: the process's end is looked for, too.
            ended = self._process.poll() is not None
            ready = select.select(ways, [], [], 0 if ended else _TICK)[0]
            tick()
            if ended and not ready:
                break
            for way in ready:
                data = os.read(way, 65536)
                if data:
                    self._take(way, data)
                else:
                    ways.remove(way)
            if self._terminal is not None:
                self._terminal.screen.follow()
        self._write(self.complaints.end() + self._reader.end(), self._ways[self._errors])
        if self._terminal is not None:
            self._terminal.close(failed=True)

    def say(self, text: str) -> None:
        """Write a line of one's own to stderr."""
        if self._terminal is not None:
            text = wrapped(text, self._terminal.screen.width)
        self._write(f"{text}\n".encode(), self._ways[self._errors])

    def _take(self, way: int, data: bytes) -> None:
        to = self._ways[way]
        if way != self._errors:
            self._write(data, to)
            return
        if self._listens_for:
            self._tail = self._tail[-len(self._listens_for) :] + data
            self.heard = self.heard or self._listens_for in self._tail
        if self._terminal is None:
            self._write(data, to)
            return
        for said in self._reader.feed(data):
            if isinstance(said, bytes):
                self._write(self._fitted(said), to)
            else:
                # One that is of another version of distgrad, or of somebody else, shows nothing.
                with contextlib.suppress(LookupError, TypeError, ValueError):
                    obey(self._terminal, said)

    def _fitted(self, said: bytes) -> bytes:
        """Return what ranks say, broken between words as they do not know the width."""
        assert self._terminal is not None
        columns = self._terminal.screen.width

        def broken(line: re.Match[bytes]) -> bytes:
            return wrapped(line[0].decode(errors="surrogateescape"), columns).encode(
                errors="surrogateescape"
            )

        return _TAGGED.sub(broken, self.complaints.left_out(said))

    def _write(self, data: bytes, to: int) -> None:
        if self._terminal is None:
            write_all(to, data)
        else:
            self._terminal.screen.write(data, to)
