"""The all-reduces that ``distgrad bench`` measures side by side, each started and waited for alike.

It reads no clock.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from distgrad.comm import ALL_REDUCE, AUTO, Communicator, gather_json
from distgrad.comm.message import Array
from distgrad.comm.quick import NOTHING
from distgrad.errors import CommError
from distgrad.parallel.future import Pending

IN_PLACE = " in place"
"""Ends the name of an algorithm whose arrays lie in the node's memory, as DDP's gradients do."""
MPI4PY, GLOO = "mpi4py", "gloo"
_PATIENCE = timedelta(seconds=60)  # for gloo's ranks to find each other


@dataclass
class Bound:
    """A sum over the ranks of one array, to be made again and again."""

    array: Array
    start: Callable[[], Pending]
    held: object = None
    """What has to live as long as the array."""


@dataclass(frozen=True)
class Candidate:
    """A way to sum arrays over all ranks."""

    name: str
    bind: Callable[[int, np.dtype[Any]], Bound | None]
    """Makes the array of so many elements; None, on every rank, where there is no room for it."""
    overlaps: bool = True
    """Whether it comes back before it is complete."""


def candidates(
    comm: Communicator, names: list[str] | None, peers: bool
) -> tuple[list[Candidate], dict[str, str]]:
    """Return the ways to sum that run here, and why others do not; collective.

    ``names`` are algorithms, by default all; ``peers`` are mpi4py's Allreduce and PyTorch's gloo.
    Errors: CommError for a name that does not exist or cannot run here.
    """
    found, left_out = [], {}
    for name in names or [*ALL_REDUCE, AUTO]:
        missing = ALL_REDUCE[name].missing if name in ALL_REDUCE else None
        if names is None and missing is not None and (needed := missing(comm.transport)):
            left_out[name] = f"it needs {needed}"
            continue
        comm.check_algorithm(name)
        found.append(Candidate(name, _ours(comm, name)))
        if name in ALL_REDUCE and ALL_REDUCE[name].quick and comm.topology.shares:
            found.append(Candidate(name + IN_PLACE, _in_place(comm, name)))
    if peers:
        blocking = getattr(comm.transport, "blocking_all_reduce", None)
        if blocking is None:
            left_out[MPI4PY] = f"this world is {comm.transport.name}, not MPI's"
        else:
            found.append(Candidate(MPI4PY, _blocking(blocking), overlaps=False))
        if reason := join_gloo(comm):
            left_out[GLOO] = reason
        else:
            found.append(Candidate(GLOO, _gloo()))
    return found, left_out


def _ours(comm: Communicator, name: str) -> Callable[[int, np.dtype[Any]], Bound]:
    def bind(count: int, dtype: np.dtype[Any]) -> Bound:
        array = np.zeros(count, dtype)
        return Bound(array, lambda: comm.start_all_reduce(array, algorithm=name))

    return bind


def _in_place(comm: Communicator, name: str) -> Callable[[int, np.dtype[Any]], Bound | None]:
    def bind(count: int, dtype: np.dtype[Any]) -> Bound | None:
        shared = comm.share([(count, dtype, 1)])
        if shared is None:
            return None
        array = shared[0].own
        return Bound(array, lambda: comm.start_all_reduce(array, algorithm=name), shared)

    return bind


def _blocking(all_reduce: Callable[[Array], None]) -> Callable[[int, np.dtype[Any]], Bound]:
    def bind(count: int, dtype: np.dtype[Any]) -> Bound:
        array = np.zeros(count, dtype)

        def start() -> Pending:
            all_reduce(array)
            return NOTHING

        return Bound(array, start)

    return bind


# -- PyTorch's gloo ---------------------------------------------------------------------------


@dataclass
class _GlooWork:
    work: Any

    def poll(self) -> bool:
        """Look; gloo has a thread of its own."""
        return bool(self.work.is_completed())

    def wait(self) -> None:
        self.work.wait()


def _gloo() -> Callable[[int, np.dtype[Any]], Bound]:
    torch, dist = import_module("torch"), import_module("torch.distributed")

    def bind(count: int, dtype: np.dtype[Any]) -> Bound:
        array = np.zeros(count, dtype)
        tensor = torch.from_numpy(array)
        return Bound(array, lambda: _GlooWork(dist.all_reduce(tensor, async_op=True)))

    return bind


def join_gloo(comm: Communicator) -> str:
    """Let all ranks join a process group of PyTorch's; return why not, on every rank the same."""
    absent = gather_json(comm, find_spec("torch") is None, "distgrad bench")
    if any(absent):
        where = "" if all(absent) else f" on rank {absent.index(True)}"
        return f"torch is not installed{where} (`pip install torch`)"
    hosts = gather_json(comm, comm.transport.host, "distgrad bench")
    alone = len(set(hosts)) == 1
    address = ["127.0.0.1" if alone else hosts[0], free_port() if comm.rank == 0 else 0]
    host, port = gather_json(comm, address, "distgrad bench")[0]
    if alone:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    fault = ""
    try:
        import_module("torch").set_num_threads(1)
        dist = import_module("torch.distributed")
        store = dist.TCPStore(host, port, comm.size, comm.rank == 0, timeout=_PATIENCE)
        dist.init_process_group(
            "gloo", store=store, rank=comm.rank, world_size=comm.size, timeout=_PATIENCE
        )
    except (ImportError, OSError, RuntimeError) as error:  # torch's own are RuntimeErrors
        fault = f"PyTorch's ranks did not find each other: {str(error).splitlines()[0]}"
    return next(filter(None, gather_json(comm, fault, "distgrad bench")), "")


def leave_gloo() -> None:
    """Leave the process group, if one was joined."""
    if find_spec("torch") is not None:
        dist = import_module("torch.distributed")
        if dist.is_initialized():
            dist.destroy_process_group()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def check_sum(comm: Communicator, name: str, bound: Bound) -> None:
    """Make the sum once and compare it with what it has to be. Errors: CommError."""
    bound.array[:] = comm.rank + 1
    bound.start().wait()
    wrong = bound.array != comm.size * (comm.size + 1) // 2
    if wrong.any():
        raise CommError(
            f"[rank {comm.rank}/{comm.size}] {name} has summed {bound.array.size} elements wrongly "
            f"(the first at {int(wrong.argmax())}): nothing it would measure means anything"
        )
    bound.array[:] = 0  # sums of zeros stay what they are, however many are made
