"""What a program prints while a line is live goes above it: sys.stdout and sys.stderr see to it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TextIO

from distgrad.observe.terminal.screen import ERASE, Screen, write_all

Write = Callable[[bytes], None]


class Above:
    """A text stream whose writes go through ``write``; in all else it is the one it stands for."""

    def __init__(self, stream: TextIO, write: Write) -> None:
        self._stream, self._write = stream, write

    def write(self, text: str) -> int:
        """Write text, at once."""
        self._stream.flush()
        self._write(text.encode(self._stream.encoding, self._stream.errors or "strict"))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write them all."""
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Erasing:
    """Writes whole lines, each write beginning with what takes a live line away."""

    def __init__(self, fd: int) -> None:
        self._fd, self._rest = fd, b""

    def __call__(self, data: bytes) -> None:
        """Write the lines that are complete."""
        lines, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline:
            write_all(self._fd, ERASE + lines + newline)

    def end(self) -> None:
        """Write what is left."""
        write_all(self._fd, self._rest)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal."""
    return is_a_file(stream) and stream is not None and stream.isatty()


def is_a_file(stream: TextIO | None) -> bool:
    """Whether a stream is open, and no notebook's or test's."""
    try:
        return stream is not None and stream.fileno() >= 0
    except (OSError, ValueError):
        return False


@contextmanager
def above(screen: Screen) -> Iterator[None]:
    """Let what is printed to streams that are the screen's terminal go above its live line."""
    ways: dict[str, Write] = {}
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if is_terminal(stream) and os.path.sameopenfile(stream.fileno(), screen.fd):
            ways[name] = partial(_above, screen, stream.fileno())
    with replaced(ways):
        yield


def _above(screen: Screen, fd: int, data: bytes) -> None:
    screen.write(data, fd)
    screen.follow()


@contextmanager
def replaced(ways: Mapping[str, Write]) -> Iterator[None]:
    """Let what is written to the streams of these names (of ``sys``) go these ways."""
    before = {name: getattr(sys, name) for name in ways}
    mine = {name: Above(before[name], write) for name, write in ways.items()}
    for name, stream in mine.items():
        _exchange(name, before[name], stream)
    try:
        yield
    finally:
        for name, stream in mine.items():
            _exchange(name, stream, before[name])


def _exchange(name: str, old: Any, new: Any) -> None:
    """Put a stream in another's place, in ``sys`` and in the handlers of log messages."""
    if getattr(sys, name) is old:  # not so if somebody has put another in its place
        setattr(sys, name, new)
    known = [logging.root, *logging.root.manager.loggerDict.values()]
    for handler in {h for logger in known for h in getattr(logger, "handlers", ())}:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)
