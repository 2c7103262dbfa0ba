"""Who takes part: all ranks, or a part of them. Ranks are named by their number in the world."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, TypeAlias
from weakref import WeakKeyDictionary

from distgrad.arguments import checked, explained
from distgrad.comm import Communicator, gather_json
from distgrad.distributed.work import Work, run
from distgrad.errors import CommError, LaunchError, MismatchError
from distgrad.kinds import NONE, Kind, either, number
from distgrad.parallel.world import World, current_world, init, joined_world

_SPAN = Kind("a timedelta", lambda v: isinstance(v, timedelta))
Patience: TypeAlias = Annotated[timedelta | float | None, either(_SPAN, number(0), NONE)]


class ProcessGroup:
    """Some of the ranks, made by ``new_group``; ``ranks`` are their numbers in the world."""

    def __init__(self, comm: Communicator | None, ranks: Sequence[int], world: World) -> None:
        self._comm, self.ranks, self._world = comm, tuple(ranks), world
        self.canonical = world.canonical
        """Whether sums keep the canonical order: ``dg.init(shards=…)`` was asked for."""

    @property
    def comm(self) -> Communicator:
        """The communicator of its ranks. Errors: CommError on a rank that is no member."""
        if self._comm is None:
            raise CommError(
                f"[rank {self._world.rank}/{self._world.size}] this rank is no member of the group "
                f"of ranks {[*self.ranks]}: call on its members alone, `if dist.get_rank(group) "
                f">= 0:`"
            )
        return self._comm

    def rank(self) -> int:
        """Return this rank's number in the group; -1 on a rank that is no member."""
        return -1 if self._comm is None else self._comm.rank

    def size(self) -> int:
        """Return the number of its ranks; -1 on a rank that is no member."""
        return -1 if self._comm is None else self._comm.size

    def find(self, name: str, rank: Any, within: Any = None) -> int:
        """Return the number in the group of a rank given by that in the world, or ``within`` it."""
        if within is not None:
            if isinstance(within, int) and 0 <= within < len(self.ranks):
                return within
            raise CommError(
                f"group_{name}={within}: the group has ranks 0 to {len(self.ranks) - 1}"
            )
        if rank in self.ranks:
            return self.ranks.index(rank)
        if len(self.ranks) == self._world.size:
            raise CommError(f"{name}={rank}: there are ranks 0 to {self._world.size - 1}")
        raise CommError(f"{name}={rank} is not in the group, whose ranks are {[*self.ranks]}")

    def __repr__(self) -> str:
        return f"ProcessGroup(ranks={[*self.ranks]}, rank={self.rank()})"


class GroupMember:
    """PyTorch's names of the group of all ranks, and of the number of a rank that is in none."""

    WORLD: ProcessGroup | None = None
    NON_GROUP_MEMBER = -1


class group:  # noqa: N801 - PyTorch's name
    """``group.WORLD``: all ranks, as if ``group=`` were left out."""

    WORLD: ProcessGroup | None = None


_whole: WeakKeyDictionary[World, ProcessGroup] = WeakKeyDictionary()


def resolved(group: Any) -> ProcessGroup:
    """Return the group; all ranks for None."""
    if isinstance(group, ProcessGroup):
        return group
    if group is not None:
        raise CommError(
            f"group={group!r}: a group is what dist.new_group(ranks) returns; leave it out for "
            f"all ranks"
        )
    world = current_world()
    whole = _whole.get(world)
    if whole is None:
        whole = _whole[world] = ProcessGroup(world.comm, range(world.size), world)
    return whole


# -- joining --------------------------------------------------------------------------------------


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: Patience = None,
    world_size: int = -1,
    rank: int = -1,
) -> None:
    """Join the job's ranks, as ``dg.init`` does; whoever starts the job says how many there are.

    ``backend`` is MPI's whatever is asked for, but "nccl", which needs GPUs. ``timeout`` is a
    timedelta, or seconds. Errors: LaunchError for another number of ranks, or another rank.
    """
    if backend is not None and "nccl" in backend:
        raise LaunchError("backend='nccl' is that of GPUs, which are not used here: write 'mpi'")
    if init_method not in (None, "env://"):
        raise LaunchError(f"init_method={init_method!r}: mpirun tells the ranks; leave it out")
    world = init(timeout=_seconds(timeout))
    for name, asked, found in (
        ("world_size", world_size, world.size),
        ("rank", rank, world.rank),
    ):
        if asked not in (-1, found):
            raise LaunchError(
                f"init_process_group({name}={asked}), but this job was started with {found}: start "
                f"it with mpirun -n (or distgrad run -n) and leave {name}= out"
            )


def is_available() -> bool:
    """Return whether there are collectives; always."""
    return True


def is_initialized() -> bool:
    """Return whether this rank has joined the others."""
    return joined_world() is not None


@checked
def new_group(
    ranks: Sequence[int] | None = None,
    timeout: Patience = None,
    backend: str | None = None,
) -> ProcessGroup:
    """Return the group of these ranks, in ascending order; all of the world if they are left out.

    Every rank of the world calls it with the same ranks, members and others. ``timeout`` is a
    timedelta, or seconds: that of the world if it is left out. Errors: CommError for ranks that do
    not exist or are named twice, MismatchError if they are not the same everywhere, LaunchError
    for the backend "nccl".
    """
    if backend is not None and "nccl" in backend:
        raise LaunchError("backend='nccl' is that of GPUs, which are not used here: leave it out")
    world = current_world()
    members = sorted(range(world.size) if ranks is None else ranks)
    if not members or len({*members}) < len(members) or not {*members} <= {*range(world.size)}:
        raise CommError(
            f"new_group({members}): each rank from 0 to {world.size - 1} at most once, and "
            f"one at least"
        )
    for rank, theirs in enumerate(gather_json(world.comm, members, "new_group")):
        if theirs != members:
            raise MismatchError(
                f"[rank {world.rank}/{world.size}] new_group({members}) here, new_group({theirs}) "
                f"on rank {rank}; every rank calls it with the same ranks, members or not"
            )
    comm = world.comm.split(0 if world.rank in members else None)
    seconds = _seconds(timeout)
    if comm is not None and seconds is not None:
        comm.timeout = seconds
    return ProcessGroup(comm, members, world)


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Wait for all ranks of the group; the world itself ends with the program."""
    barrier(group)


# -- who is who -----------------------------------------------------------------------------------


def get_rank(group: ProcessGroup | None = None) -> int:
    """Return this rank's number in the group, from 0; -1 if it is no member."""
    return resolved(group).rank()


def get_world_size(group: ProcessGroup | None = None) -> int:
    """Return the number of ranks in the group; -1 on a rank that is no member."""
    return resolved(group).size()


def get_backend(group: ProcessGroup | None = None) -> str:
    """Return what carries the messages: "mpi", "local" or "simulated"."""
    return resolved(group).comm.transport.name


def get_process_group_ranks(group: ProcessGroup | None = None) -> list[int]:
    """Return the numbers in the world of the group's ranks."""
    return [*resolved(group).ranks]


@checked
def get_group_rank(group: ProcessGroup | None, global_rank: int) -> int:
    """Return the number in the group of a rank of the world. Errors: CommError for no member."""
    return resolved(group).find("global_rank", global_rank)


@checked
def get_global_rank(group: ProcessGroup | None, group_rank: int) -> int:
    """Return the number in the world of a rank of the group. Errors: CommError for none."""
    found = resolved(group)
    return found.ranks[found.find("rank", None, group_rank)]


# -- waiting --------------------------------------------------------------------------------------


@explained
def barrier(group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:
    """Return when every rank of the group has called it."""
    return run(async_op, resolved(group).comm.start_barrier())


@checked
def monitored_barrier(
    group: ProcessGroup | None = None,
    timeout: Patience = None,
    wait_all_ranks: bool = True,
) -> None:
    """Return when every rank of the group has called it.

    ``timeout`` is a timedelta, or seconds. Errors: CommTimeoutError that names all ranks that did
    not come in time, whatever ``wait_all_ranks`` says.
    """
    resolved(group).comm.start_barrier(timeout=_seconds(timeout)).wait()


def _seconds(timeout: timedelta | float | None) -> float | None:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
