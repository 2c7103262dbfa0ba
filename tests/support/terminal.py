"""A terminal with somebody at its keyboard, for jobs that are interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs import LAUNCHER, ROOT, mpirun

KEYBOARD = """
import os, pty, sys
code = os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:]))
sys.exit(code if code >= 0 else 128 - code)
"""


class Terminal:
    """A terminal on which a command runs; what it says goes to ``folder/log``."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self.folder = folder
        environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
        support = os.pathsep.join(str(p) for p in (ROOT, ROOT / "tests/support", ROOT / "examples"))
        environment |= {"PYTHONPATH": support, "OMP_NUM_THREADS": "1"}
        # A process of its own makes the terminal: this one has threads, and must not fork.
        with open(folder / "log", "wb") as log:
            self.keyboard = subprocess.Popen(
                [sys.executable, "-c", KEYBOARD, *command],
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
