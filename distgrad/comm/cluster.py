"""What a job runs on, in words: which CPUs, how many ranks on which nodes, what carries messages.

It measures nothing.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from distgrad.comm.as_json import gather_json
from distgrad.comm.communicator import Communicator

# By these a user says what carries the messages; Open MPI, UCX, libfabric and MPICH read them.
_CHOICES = (
    *("OMPI_MCA_pml", "OMPI_MCA_btl", "OMPI_MCA_mtl", "UCX_TLS", "UCX_NET_DEVICES"),
    *("FI_PROVIDER", "MPIR_CVAR_CH4_NETMOD"),
)
_EAGER = "OMPI_MCA_btl_tcp_eager_limit"


@dataclass(frozen=True)
class Cluster:
    """What the speed of a job's messages depends on, the same on every rank."""

    cpus: tuple[str, ...]
    """The models of all hosts' CPUs, each once, sorted."""
    ranks_per_node: tuple[int, ...]
    """Of each node, ascending; ranks that cannot share memory are nodes of one."""
    library: str
    """The MPI and its version."""
    transport: str
    """What carries the messages, as far as it is known."""

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON carries it: what tunings are kept by."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found


def look(comm: Communicator) -> Cluster:
    """Return what the ranks of ``comm`` run on; collective."""
    transport, topology = comm.transport, comm.topology
    mine = {
        "cpu": cpu_model(),
        "host": transport.host,
        "library": getattr(transport, "library", transport.name),
        "variables": {name: os.environ[name] for name in (*_CHOICES, _EAGER) if name in os.environ},
    }
    everyone = gather_json(comm, mine, "what the ranks run on")
    first = everyone[0]
    return Cluster(
        cpus=tuple(sorted({e["cpu"] for e in everyone})),
        ranks_per_node=tuple(sorted(len(ranks) for ranks in topology.nodes)),
        library=first["library"],
        transport=carrier(
            first["variables"], hosts=len({e["host"] for e in everyone}), shares=topology.one_node
        ),
    )


def carrier(environ: Mapping[str, str], *, hosts: int, shares: bool) -> str:
    """Say what carries messages between ranks on so many hosts; ``shares``: they share a memory."""
    if shares:
        return "shared memory"
    if hosts == 1:
        return "MPI inside one host"
    said = [f"{name}={environ[name]}" for name in _CHOICES if name in environ]
    if _EAGER in environ:
        said.append(f"over TCP eager up to {environ[_EAGER]} bytes")
    return ", ".join(said) or "MPI's own choice"


def cpu_model(path: str = "/proc/cpuinfo") -> str:
    """Return what this host's CPU is called."""
    try:
        with open(path) as info:
            return _model(info)
    except OSError:
        return platform.processor() or platform.machine()


def _model(lines: Iterable[str]) -> str:
    line = next((x for x in lines if x.startswith("model name")), "")
    return line.partition(":")[2].strip() or platform.machine()  # Arm's has no such line
