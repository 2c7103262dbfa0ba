"""What this host's process table says about the other ranks of the job: who is there, who stopped.

It reads /proc and what launchers put in a rank's environment. It needs no MPI and asks nobody.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distgrad.comm.launchers import LAUNCHERS

_RANKS = tuple(launcher.rank for launcher in LAUNCHERS if launcher.mpi)
_TABLE = Path("/proc")
# What tells jobs apart.
_JOBS = (("PMIX_NAMESPACE",), ("SLURM_JOB_ID", "SLURM_STEP_ID"))


@dataclass(frozen=True)
class Identity:
    """Which rank of which job a process is, as its launcher told it."""

    variable: str
    """The variable that holds the rank."""
    rank: int
    job: tuple[str, ...]
    """What tells the job apart; where launchers set nothing, the process that started the ranks."""

    def key(self) -> str:
        """Return a name that no other rank has."""
        return "/".join((*self.job, str(self.rank)))


@dataclass(frozen=True)
class Neighbour:
    """A process of this job on this host."""

    pid: int
    rank: int


def identity(
    environ: Mapping[str, str] | None = None, parent: int | None = None
) -> Identity | None:
    """Return which rank this process (or the one with ``environ``) is, None if it is none."""
    environ = os.environ if environ is None else environ
    variable = next((v for v in _RANKS if environ.get(v, "").isdecimal()), None)
    if variable is None:
        return None
    known = next((names for names in _JOBS if all(n in environ for n in names)), None)
    if known is None:
        job: tuple[str, ...] = (f"started by {os.getppid() if parent is None else parent}",)
    else:
        job = tuple(environ[n] for n in known)
    return Identity(variable, int(environ[variable]), job)


def neighbours(me: Identity) -> list[Neighbour]:
    """Return the processes on this host that are other ranks of the same job, as far as seen."""
    found = []
    for entry in _processes():
        try:
            if entry.stat().st_uid != os.getuid():
                continue
            data = (entry / "environ").read_bytes()
            if me.variable.encode() not in data:
                continue
            _, parent = _status(entry)
        except OSError:  # it has ended, or is not ours to look at
            continue
        pairs = (line.partition("=") for line in data.decode(errors="replace").split("\0"))
        other = identity({name: value for name, _, value in pairs}, parent)
        if other is not None and other.job == me.job and other.rank != me.rank:
            found.append(Neighbour(int(entry.name), other.rank))
    return found


def has_ended(pid: int) -> bool:
    """Whether a process is over, its parent having noticed or not."""
    try:
        return _status(_TABLE / str(pid))[0] in "ZX"
    except OSError:
        return True


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped, by a signal or a debugger."""
    try:
        return _status(_TABLE / str(pid))[0] in "Tt"
    except OSError:
        return False


def stopped(rank: int) -> str:
    """Say that a rank of this job is stopped and how it goes on; empty if nothing shows that."""
    me = identity()
    here = neighbours(me) if me is not None else []
    pids = [str(n.pid) for n in here if n.rank == rank and is_stopped(n.pid)]
    return f"stopped: `kill -CONT {' '.join(pids)}` lets it go on" if pids else ""


def describe(ranks: Sequence[int]) -> dict[int, str]:
    """Say of each rank whose process is on this host what its process does, as the kernel knows."""
    me = identity()
    here = neighbours(me) if me is not None else []
    pids = {rank: sorted(n.pid for n in here if n.rank == rank) for rank in ranks}
    return {rank: _description(found[0]) for rank, found in pids.items() if found}


def _description(pid: int) -> str:
    try:
        state, _ = _status(_TABLE / str(pid))
    except OSError:
        return f"process {pid} has ended"
    if state in "Tt":
        return f"process {pid} is stopped: `kill -CONT {pid}` lets it go on"
    if state in "ZX":
        return f"process {pid} has ended"
    if state == "R":
        return (
            f"process {pid} is running (state R): in a function that keeps Python's lock, the GIL, "
            f"or on a core that others keep busy"
        )
    words = "waits for the disk or a file system" if state == "D" else "sleeps"
    return f"process {pid} {words} (state {state}){_kernel_function(pid)}"


def _kernel_function(pid: int) -> str:
    try:
        name = (_TABLE / str(pid) / "wchan").read_text().strip()
    except OSError:
        return ""
    return "" if name in ("", "0") else f", in the kernel's {name}"


def _processes() -> list[Path]:
    try:
        return [entry for entry in _TABLE.iterdir() if entry.name.isdecimal()]
    except OSError:  # a container or a chroot without /proc: nobody is seen
        return []


def _status(entry: Path) -> tuple[str, int]:
    """Return the state and the parent of a process. Raises OSError if it has ended."""
    # The name before them is in parentheses and may hold anything, parentheses too.
    state, parent, *_ = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return state, int(parent)
