"""A terminal with somebody at its keyboard, for jobs that are interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from jobs import LAUNCHER, ROOT, mpirun

KEYBOARD = """
import fcntl, os, pty, select, struct, sys, termios

def resize(fd, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

pid, terminal = pty.fork()
if not pid:
    resize(0, int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
hands = [0, terminal]
while terminal in hands:
    for fd in select.select(hands, [], [])[0]:
        try:
            data = os.read(fd, 65536)
        except OSError:  # the terminal's way of saying that all have left it
            data = b""
        if not data:
            hands.remove(fd)
        elif fd == terminal:
            os.write(1, data)
        elif data.startswith(b"resize "):
            resize(terminal, int(data.split()[-1]))
        else:
            os.write(terminal, data)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(code if code >= 0 else 128 - code)
"""


class Terminal:
    """A terminal on which a command runs; what it says goes to ``folder/log``."""

    def __init__(
        self, folder: Path, command: Sequence[str], *, columns: int = 80, **variables: str
    ) -> None:
        self.folder = folder
        self._sizes = [(0, columns)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
        support = os.pathsep.join(str(p) for p in (ROOT, ROOT / "tests/support", ROOT / "examples"))
        environment |= {"PYTHONPATH": support, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}
        environment |= variables
        # A process of its own makes the terminal: this one has threads, and must not fork.
        with open(folder / "log", "wb") as log:
            self.keyboard = subprocess.Popen(
                [sys.executable, "-c", KEYBOARD, str(columns), *command],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
            )

    @property
    def pid(self) -> int:
        """The process that the terminal has started."""
        children = Path(f"/proc/{self.keyboard.pid}/task/{self.keyboard.pid}/children")
        return int(children.read_text())

    def wait_for(self, *names: str) -> None:
        """Wait until there are files of these names, or patterns."""
        self._wait(lambda: all(any(self.folder.glob(name)) for name in names), names)

    def wait_for_words(self, words: str) -> None:
        """Wait until the command has said them."""
        self._wait(lambda: words in self.said, words)

    def _wait(self, done: Callable[[], bool], what: object) -> None:
        deadline = time.monotonic() + 60
        while not done():
            if time.monotonic() > deadline or self.keyboard.poll() is not None:
                self.keyboard.kill()
                raise AssertionError(f"no {what}: {self.said}")
            time.sleep(0.05)

    def press_ctrl_c(self) -> None:
        self.keyboard.stdin.write(b"\x03")
        self.keyboard.stdin.flush()

    def resize(self, columns: int) -> None:
        """Make the terminal so wide."""
        self._sizes.append(((self.folder / "log").stat().st_size, columns))
        self.keyboard.stdin.write(f"resize {columns}\n".encode())
        self.keyboard.stdin.flush()

    def screen(self) -> list[str]:
        """Return the lines that are on the screen now; skips the test without pyte."""
        pyte = pytest.importorskip("pyte", reason="needs pyte, which is what a terminal shows")
        said = (self.folder / "log").read_bytes()
        screen = pyte.Screen(self._sizes[0][1], 24)
        stream = pyte.ByteStream(screen)
        ends = [start for start, _ in self._sizes[1:]] + [len(said)]
        for (start, columns), end in zip(self._sizes, ends, strict=True):
            screen.resize(24, columns)
            stream.feed(said[start:end])
        return [line.rstrip() for line in screen.display if line.strip()]

    def status(self) -> int:
        """Wait for the end, and return the exit status as a shell would show it."""
        try:
            return self.keyboard.wait(60)
        finally:
            self.keyboard.kill()
            self.keyboard.stdin.close()

    @property
    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} - {"job.py", "log"}


def distgrad_run(ranks: int) -> list[str]:
    """Return the command up to the script; skips the test where there is no mpirun."""
    mpirun(ranks)
    return [sys.executable, "-m", "distgrad", "run", "-n", str(ranks)]
