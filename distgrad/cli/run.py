"""``distgrad run``: builds the mpirun line for this machine, or for a file of hosts."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from distgrad.cli import job
from distgrad.cli.supervise import supervise, watch
from distgrad.comm import launchers
from distgrad.comm.tuning import VARIABLE as TUNING
from distgrad.errors import LaunchError
from distgrad.observe.terminal.displays import PLAIN, wants_lines
from distgrad.observe.terminal.marks import BY_CALLER
from distgrad.observe.terminal.marks import VARIABLE as LIVE
from distgrad.observe.terminal.streams import is_terminal

HELP = "start a script or module on N ranks with mpirun"

_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
# What a user may have set for the ranks; on other hosts mpirun does not know it by itself.
_OF_THE_USER = (*_THREADS, TUNING, "DISTGRAD_FUSED", "DISTGRAD_CACHE", "DISTGRAD_DATA", PLAIN)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_launch_options(parser)
    job.add_timeline(parser)
    job.add_options(parser, ranks="the physical cores that this process may use")


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how mpirun is called."""
    parser.add_argument("--dry-run", action="store_true", help="print the command, start nothing")
    parser.add_argument("--hostfile", metavar="FILE", help="hosts to start on (default: this one)")
    parser.add_argument("--threads", type=int, metavar="T", help="BLAS threads per rank")
    parser.add_argument(
        "--mpirun",
        metavar="ARGS",
        default="",
        help="further arguments for mpirun, as in --mpirun='--tag-output --report-bindings'",
    )


def work(options: argparse.Namespace) -> int:
    """Start the job, or print its command; return the exit status."""
    job.check_program(options)
    if options.n is None:
        _choose_ranks(options)
    live, asked = False, job.timeline(options)
    if not options.dry_run:
        live = draws_here(options)
        asked |= job.told(options) | ({LIVE: "1"} if live else {})
        if os.environ.get(LIVE) == BY_CALLER:
            asked[LIVE] = BY_CALLER
    program = [sys.executable, *job.program(options)]
    return start(options, program, live=live, asked=asked)


def start(
    options: argparse.Namespace,
    program: Sequence[str],
    *,
    live: bool = False,
    asked: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Start ``program`` on ``options.n`` ranks, or print the command; return the exit status.

    ``live``, a line of theirs is drawn on this terminal. ``asked`` are more variables for them.
    """
    command, environment, open_mpi = prepare(options, program, asked)
    if options.dry_run:
        prefix = [f"{k}={shlex.quote(v)}" for k, v in environment.items()]
        print(" ".join([*prefix, shlex.join(command)]))
        return 0
    # LIVE may be that of a job in which this is one.
    environment = {k: v for k, v in os.environ.items() if k != LIVE} | environment
    if open_mpi:
        return supervise(command, environment, live=live)
    if live:
        return watch(command, environment)
    # mpirun takes this process's place: Ctrl-C, signals and the exit status are its own.
    os.execvpe(command[0], command, environment)


def prepare(
    options: argparse.Namespace,
    program: Sequence[str],
    asked: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[str], dict[str, str], bool]:
    """Return the command that starts ``program``, the variables it adds, whether it is Open MPI's.

    Errors: LaunchError.
    """
    _check(options)
    mpirun = launchers.find_mpirun()
    open_mpi = launchers.is_open_mpi(mpirun)
    environment = launch_environment(options.n, options.threads) | dict(asked)
    command = launchers.mpirun_command(
        mpirun,
        open_mpi,
        options.n,
        options.threads or threads_per_rank(options.n),
        [*environment, *(n for n in _OF_THE_USER if n in os.environ and n not in environment)],
        hostfile=options.hostfile,
        extra=shlex.split(options.mpirun),
    )
    return [*command, *program], environment, open_mpi


def draws_here(options: argparse.Namespace) -> bool:
    """Whether a live line of the ranks is drawn by this process, on its stderr."""
    elsewhere = any(word.startswith("--output") for word in shlex.split(options.mpirun))
    lines = options.plain or wants_lines(os.environ)
    return is_terminal(sys.stderr) and not lines and not elsewhere


def _choose_ranks(options: argparse.Namespace) -> None:
    """Set how many ranks there are where nobody said, and say so. Errors: SystemExit."""
    if options.hostfile is not None:
        options.parser.error("--hostfile needs -n N: how many ranks all its hosts are to have")
    tasks = os.environ.get("SLURM_NTASKS", "")
    in_slurm = "SLURM_JOB_ID" in os.environ and tasks.isdecimal()
    options.n = int(tasks) if in_slurm else launchers.cores()
    why = (
        "as this Slurm job has tasks" if in_slurm else "one for each physical core that may be used"
    )
    ranks = "1 rank" if options.n == 1 else f"{options.n} ranks"
    late = "-n" in job.program(options)
    text = f"distgrad run: {ranks}, {why}; -n N before the program's name takes another number"
    print(text + (" (yours comes after it)" if late else ""), file=sys.stderr, flush=True)


def threads_per_rank(ranks: int) -> int:
    """Return the BLAS threads of a rank: what the environment says, else its share of the cores."""
    chosen = next((os.environ[name] for name in _THREADS if os.environ.get(name)), "")
    return int(chosen) if chosen.isdecimal() else max(1, launchers.cores() // ranks)


def launch_environment(ranks: int, threads: int | None) -> dict[str, str]:
    """Return the variables the ranks start with: their BLAS threads."""
    if not threads and any(os.environ.get(name) for name in _THREADS):
        return {}
    environment = dict.fromkeys(_THREADS, str(threads or threads_per_rank(ranks)))
    # Says that nobody chose them: dg.init(shards=…) may take one thread instead.
    return environment | ({} if threads else {"DISTGRAD_THREADS_AUTO": "1"})


def _check(options: argparse.Namespace) -> None:
    job.check_ranks(options)
    if options.threads is not None and options.threads < 1:
        raise LaunchError(f"--threads {options.threads}: a rank needs at least one thread")
    if options.hostfile is not None and not Path(options.hostfile).is_file():
        raise LaunchError(f"there is no hostfile '{options.hostfile}'; check the path")
