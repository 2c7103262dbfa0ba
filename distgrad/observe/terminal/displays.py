"""Where a training is shown: on a terminal, in a log, or by the launcher that reads marks."""

from __future__ import annotations

import io
import locale
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from distgrad.comm import launchers
from distgrad.console import wrapped
from distgrad.observe.terminal import launcher, marks, words
from distgrad.observe.terminal.notebook import Notebook, in_notebook
from distgrad.observe.terminal.screen import Screen
from distgrad.observe.terminal.status import Status
from distgrad.observe.terminal.streams import above, is_terminal
from distgrad.observe.terminal.table import Row, table_lines
from distgrad.switches import on

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PLAIN = "DISTGRAD_PLAIN"
"""Asks for lines in place of one that is drawn again and again: for screen readers."""


class Display(Protocol):
    """Something that shows how a training goes."""

    interval: float
    """Seconds between two calls of ``show`` that are worth it."""
    live: bool
    """Whether what is shown is shown anew, and not added to what was."""

    def show(self, status: Status) -> None:
        """Show where the training stands."""

    def evaluated(self, status: Status) -> None:
        """Show an evaluation's result, which ``status`` has."""

    def say(self, text: str) -> None:
        """Show a message."""

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Show a table of names and values."""

    def close(self, *, failed: bool) -> None:
        """End what is live; ``failed``, it stays to be read."""


def wants_lines(environ: Mapping[str, str]) -> bool:
    """Whether the user wants lines alone, or has a terminal that cannot draw a line again."""
    return _is_plain(environ) or environ.get("TERM") == "dumb"


def _is_plain(environ: Mapping[str, str]) -> bool:
    return on(environ, PLAIN)


class Lines:
    """Lines for a log: one in so many seconds, with the same keys in each."""

    live = False

    def __init__(self, stream: TextIO | None, environ: Mapping[str, str]) -> None:
        self._stream = stream
        # In a batch job's log a line twice a minute is enough.
        self.interval = 30.0 if launchers.in_batch_job(environ) else 10.0

    def show(self, status: Status) -> None:
        """Write a line."""
        self.say(words.log_line(status))

    def evaluated(self, status: Status) -> None:
        """Write a line of its own keys."""
        self.say(words.evaluation_log_line(status))

    def say(self, text: str) -> None:
        """Write lines."""
        _print(self._stream, text)

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Write a line for each row."""
        self.say("\n".join(table_lines(title, rows, None)))

    def close(self, *, failed: bool) -> None:
        """Nothing is live."""


class Marks:
    """Says everything to the launcher, which has the terminal."""

    interval, live = 0.1, True

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def show(self, status: Status) -> None:
        """Say it."""
        self._mark("show", status.as_json())

    def evaluated(self, status: Status) -> None:
        """Say it."""
        self._mark("evaluated", status.as_json())

    def say(self, text: str) -> None:
        """Say it."""
        self._mark("say", text)

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Say it."""
        self._mark("table", [title, *([row.name, row.value, row.command] for row in rows)])

    def close(self, *, failed: bool) -> None:
        """Say it."""
        self._mark("close", failed)

    def _mark(self, verb: str, what: Any) -> None:
        _print(self._stream, marks.encode({verb: what}).removesuffix("\n"))


def obey(display: Display, mark: Mapping[str, Any]) -> None:
    """Show what a mark asks for. Errors: LookupError, TypeError or ValueError if it is no mark."""
    ((verb, what),) = mark.items()
    if verb == "table":
        title, *rows = what
        display.table(title, [Row(*row) for row in rows])
    elif verb == "close":
        display.close(failed=what)
    elif verb == "say":
        display.say(str(what))
    else:
        show = {"show": display.show, "evaluated": display.evaluated}[verb]
        show(Status.from_json(what))


class Terminal:
    """One live line, and everything else above it."""

    interval, live = 0.1, True

    def __init__(self, fd: int, encoding: str) -> None:
        from rich.console import Console  # noqa: PLC0415 (import distgrad stays light)

        self._status: Status | None = None
        self._ascii = not encoding.lower().startswith("utf")
        # It writes nothing, but knows which colors the terminal has, and NO_COLOR.
        self._console: Console = Console(file=io.StringIO(), force_terminal=True, highlight=False)
        self.screen = Screen(fd, draw=self._draw, encoding=encoding)
        self._encoding = encoding
        self.is_launchers = False
        """Whether it is no stream of this process."""

    @classmethod
    def of_launcher(cls, path: str) -> Terminal:
        """Return the terminal at ``path``."""
        fd = os.open(path, os.O_WRONLY | os.O_NOCTTY)
        made = cls(fd, locale.getpreferredencoding(False))
        made.is_launchers = True
        weakref.finalize(made, os.close, fd)
        return made

    def show(self, status: Status) -> None:
        """Draw the live line."""
        self._status = status
        self.screen.show()

    def evaluated(self, status: Status) -> None:
        """Write a line above the live one, which has the result from now on, too."""
        self._status = status
        self.say(words.evaluation_line(status, self.screen.width))

    def say(self, text: str) -> None:
        """Write lines above the live one."""
        text = wrapped(text, self.screen.width)
        self.screen.write(f"{text}\n".encode(self._encoding, "replace"))
        self.screen.follow()

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Write a table that is as wide as the terminal."""
        from rich.text import Text  # noqa: PLC0415

        first, *lines = table_lines(title, rows, self.screen.width)
        self.say("\n".join([self._styled(Text(first, style="bold")), *lines]))

    def close(self, *, failed: bool) -> None:
        """Take the live line away; after a failure it stays."""
        self.screen.clear(keep=failed)

    def _draw(self, width: int) -> str:
        assert self._status is not None
        color = not self._console.no_color and self._console.color_system is not None
        return self._styled(
            words.live_line(self._status, width, ascii_only=self._ascii, color=color)
        )

    def _styled(self, text: Text) -> str:
        with self._console.capture() as shown:
            self._console.print(text, end="", soft_wrap=True)
        return shown.get()


def choose(environ: Mapping[str, str], stream: TextIO | None) -> Display:
    """Return how rank 0 shows its training: ``stream`` is its stderr."""
    if in_notebook() and not _is_plain(environ):
        return Notebook()
    if wants_lines(environ):
        return Lines(stream, environ)
    if marks.VARIABLE in environ and launchers.started(environ) is not None:
        return Marks(stream)
    if stream is not None and is_terminal(stream):
        return Terminal(stream.fileno(), stream.encoding)
    path = _launchers_terminal(environ)
    return Lines(stream, environ) if path is None else Terminal.of_launcher(path)


def surroundings(
    environ: Mapping[str, str], display: Display | None
) -> AbstractContextManager[object]:
    """Return the context for a rank's steps, in which what it prints goes above a live line.

    ``display`` is what ``choose`` has returned on rank 0, None on other ranks.
    """
    if isinstance(display, Terminal) and not display.is_launchers:
        return above(display.screen)
    path = (
        _launchers_terminal(environ) if display is None or isinstance(display, Terminal) else None
    )
    return nullcontext() if path is None else launcher.erasing(environ, path)


@contextmanager
def displayed(display: Display | None) -> Iterator[None]:
    """Around a rank's steps: these surroundings, and at the end nothing is live any more."""
    failed = True
    with surroundings(os.environ, display):
        try:
            yield
            failed = False
        finally:
            if display is not None:
                display.close(failed=failed)


def _launchers_terminal(environ: Mapping[str, str]) -> str | None:
    if wants_lines(environ) or marks.VARIABLE in environ:
        return None
    return launcher.terminal(environ)


def _print(stream: TextIO | None, text: str) -> None:
    # One write, so that lines of several ranks do not mix. Nobody may listen any more, or the
    # disk of a log be full: no reason to end a training.
    try:
        if stream is not None:
            stream.write(text + "\n")
            stream.flush()
    except (OSError, ValueError):
        pass
