"""``distgrad top``: what a run is doing, live, in another terminal than the run's."""

from __future__ import annotations

import argparse
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from distgrad.checkpoint.folders import complete
from distgrad.errors import DistgradError
from distgrad.observe.run import RunReader
from distgrad.observe.run.layout import HEALTH, METRICS, RUN, TIME, checkpoints_of

if TYPE_CHECKING:
    from rich.console import Console

    from distgrad.observe.top import State
    from distgrad.observe.top.screen import Screen

HELP = "show what a run is doing, live: progress, loss, time of each rank, problems"

_REDRAW = 0.5  # seconds: also after the terminal was resized
_READ = 1.0  # seconds from one reading to the next, or more:
_PART = 10  # reading takes at most one part in so many of the time


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("run", metavar="RUN", help="the run's folder")
    parser.add_argument("--once", action="store_true", help="print the state of now and exit")


def work(options: argparse.Namespace) -> int:
    """Show the run until q or Ctrl-C; return the exit status."""
    from rich.console import Console  # noqa: PLC0415 (import distgrad stays light)

    follower = _Follower(Path(options.run))
    console = Console(highlight=False)
    if options.once:
        console.print(follower.screen())
        return 0
    if not (console.is_terminal and sys.stdin.isatty()):
        raise DistgradError(
            "distgrad top draws on a terminal, and its input or output is none: "
            "`distgrad top --once RUN` prints the state of now"
        )
    with suppress(KeyboardInterrupt):  # the other way to leave
        _follow(follower, console)
    return 0


def _follow(follower: _Follower, console: Console) -> None:
    from rich.live import Live  # noqa: PLC0415 (import distgrad stays light)

    footer = "q leaves; the run goes on"
    live = Live(follower.screen(footer), console=console, screen=True, auto_refresh=False)
    with _single_keys():
        try:
            live.start(refresh=True)
            while not _pressed("q", _REDRAW):
                live.update(follower.screen(footer), refresh=True)
        finally:  # `with live` would not leave its screen after a Ctrl-C within start()
            live.stop()


@contextmanager
def _single_keys() -> Iterator[None]:
    """Have the terminal hand over keys as they are pressed, and show none."""
    settings = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)


def _pressed(key: str, seconds: float) -> bool:
    """Wait for a key; return whether it was that one, or the terminal has gone."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if not ready:
        return False
    read = os.read(sys.stdin.fileno(), 64)
    return not read or key.encode() in read.lower()


class _Follower:
    """Reads a run's folder now and then, as it grows."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._reader = folder, RunReader(folder)
        self._due = 0.0
        self._state = self._read()

    def screen(self, footer: str = "") -> Screen:
        """Return what is to be shown now."""
        from distgrad.observe.top.screen import Screen  # noqa: PLC0415 (it imports rich)

        if time.monotonic() >= self._due:
            self._state = self._read()
        return Screen(self._state, checkpoint=self._checkpoint(), footer=footer)

    def _read(self) -> State:
        from distgrad.observe.top.state import state_of  # noqa: PLC0415 (other verbs start without)

        began = time.monotonic()
        state = state_of(self._reader.read(), time.time() - self._written())
        took = time.monotonic() - began
        self._due = began + max(_READ, _PART * took)
        return state

    def _written(self) -> float:
        """Return when the run last wrote anything, in seconds since the epoch."""
        files = (self._folder / name for name in (RUN, METRICS, TIME, HEALTH))
        return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)

    def _checkpoint(self) -> str:
        folder = checkpoints_of(self._folder)
        found = complete(folder) if folder.is_dir() else []
        if not found:
            return ""
        step, path = found[0]
        return f"step {step:,} in {path}"
