"""The mpirun above this rank: its terminal, on which rank 0 may draw, and what was typed.

A launcher gives its ranks pipes. But where all of them are on its own node, they find it among
their ancestors, and the terminal that its stderr is. What they print still comes there through the
launcher, at a time that nobody knows: so each rank begins what it prints with the escape sequence
that takes a live line away, and the line is back with rank 0's next step.
"""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from distgrad.comm import launchers
from distgrad.observe.terminal.streams import Erasing, is_a_file, replaced

# As the kernel names them: the first 15 bytes.
_LAUNCHERS = ("prterun", "mpirun", "mpiexec", "orterun", "mpiexec.hydra", "hydra_pmi_proxy")


def typed_command(environ: Mapping[str, str]) -> list[str]:
    """Return the launcher's command line; [] if no launcher is seen from here."""
    process = next((p for p in _ancestors(environ) if _name(p) != "hydra_pmi_proxy"), None)
    if process is None:
        return []
    words = (process / "cmdline").read_text(errors="surrogateescape").split("\0")[:-1]
    # Open MPI 5's mpirun becomes a prterun.
    return ["mpirun" if words[0] == "prterun" else words[0], *words[1:]]


def terminal(environ: Mapping[str, str]) -> str | None:
    """Return the path of the terminal that the launcher's stderr is, if all ranks may use it."""
    if not launchers.one_node(environ):
        return None
    for process in _ancestors(environ):
        path = _file(process, 2)
        if path.startswith(("/dev/pts/", "/dev/tty")) and _may_draw(path):
            return path
    return None


def _may_draw(path: str) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOCTTY)
    except OSError:
        return False  # somebody else's
    try:
        # With `stty tostop` a rank, which is a background process, would be stopped.
        return not termios.tcgetattr(fd)[3] & termios.TOSTOP
    except termios.error:
        return False
    finally:
        os.close(fd)


@contextmanager
def erasing(environ: Mapping[str, str], path: str) -> Iterator[None]:
    """Let all that this rank prints to the terminal take away the line that is live there."""
    processes = [*_ancestors(environ)]
    ways = {
        name: Erasing(stream.fileno())
        for fd, name, stream in ((1, "stdout", sys.stdout), (2, "stderr", sys.stderr))
        if any(_file(process, fd) == path for process in processes) and is_a_file(stream)
    }
    with replaced(ways):
        yield
    for way in ways.values():
        way.end()


def _ancestors(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the launcher's processes above this one, in /proc."""
    if launchers.started(environ) is None:
        return
    process = Path("/proc/self")
    while True:
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            process = Path("/proc") / parent
            if _name(process) not in _LAUNCHERS:
                return
        except OSError:
            return
        yield process


def _name(process: Path) -> str:
    return (process / "comm").read_text().rstrip("\n")


def _file(process: Path, fd: int) -> str:
    try:
        return str((process / f"fd/{fd}").readlink())
    except OSError:
        return ""
