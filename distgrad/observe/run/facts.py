"""What a part of a run was: who ran what, with which versions, in which state of the code."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from distgrad.comm import cores, gather_json
from distgrad.nn import Module
from distgrad.parallel import World, numerics

_PACKAGES = ("numpy", "numba", "mpi4py", "safetensors", "onednn-cpu-gomp")
_TELLING = (
    r"(OMP|OPENBLAS|MKL|BLIS|NUMBA)_\w+|DISTGRAD_(?!RANK_TAKEN)\w+|PYTHONHASHSEED"
    r"|SLURM_(JOB_ID|JOB_NAME|JOB_NUM_NODES|NTASKS|JOB_PARTITION|ARRAY_JOB_ID|ARRAY_TASK_ID"
    r"|RESTART_COUNT)|PBS_(JOBID|JOBNAME|ARRAY_INDEX)|LSB_(JOBID|JOBNAME|JOBINDEX)"
    r"|(JOB_ID|JOB_NAME|SGE_TASK_ID)|FLUX_JOB_ID|PJM_JOBID"
)
_PATIENCE = 10.0  # seconds, for git in a large repository on a slow disk


def now() -> str:
    """Return this moment: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def begun(world: World, model: Module | None) -> dict[str, Any]:
    """Return all of a part that is known when it begins; collective."""
    mine = world.comm.transport.host, numerics.blas_threads(), cores.mine()
    machines = gather_json(world.comm, mine, "run folder")
    return {
        "started": now(),
        "ended": None,
        "first_step": None,
        "last_step": None,
        "total_steps": None,
        "ended_by": None,
        "command": sys.orig_argv,
        "working_directory": os.getcwd(),
        "ranks": world.size,
        "shards": world.shards if world.canonical else None,
        "hosts": [host for host, _, _ in machines],
        "threads": [threads for _, threads, _ in machines],
        "cores": [allowed for _, _, allowed in machines],
        "versions": versions(world),
        "numerics": numerics.fingerprint(),
        "environment": environment(os.environ),
        "git": git_state(_program_folder()) if world.rank == 0 else None,
        "parameters": parameters(model),
        "hash": None,
        "peak_memory": None,
    }


def parameters(model: Module | None) -> int | None:
    """Return how many numbers a model learns; None where there is no model."""
    return None if model is None else sum(p.size for p in model.parameters())


def versions(world: World) -> dict[str, str]:
    """Return the versions of what computes, by name; ``mpi`` is the library in use."""
    from importlib import metadata  # noqa: PLC0415 (import distgrad stays light)

    own = vars(sys.modules["distgrad"])["__version__"]  # the package itself stands above this one
    found = {"distgrad": own, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if world.comm.transport.name == "mpi":
        from distgrad.comm.worlds import mpi  # noqa: PLC0415 (loaded in this world alone)

        found["mpi"] = mpi.library()
    return found


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that tell what ran and how, sorted; none that could be a secret."""
    return {n: environ[n] for n in sorted(environ) if re.fullmatch(_TELLING, n)}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit, branch and whether tracked files were changed; None outside a repository."""

    import subprocess  # noqa: PLC0415 (import distgrad stays light)

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(folder), *words]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_PATIENCE,
            )
        except (OSError, subprocess.TimeoutExpired):  # no git, or none that answers
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no")
    branch = git("rev-parse", "--abbrev-ref", "HEAD")
    return {"commit": commit, "branch": branch, "changed": bool(changed)}


def peak_memory() -> int:
    """Return the most memory that this process has had at once, in bytes."""
    # Not getrusage's ru_maxrss, which begins with what the launcher had.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _program_folder() -> Path:
    """Return where the program that runs lies; where there is none, the working directory."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path.cwd() if main is None else Path(main).resolve().parent
