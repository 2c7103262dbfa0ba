"""The world a rank lives in: who it is, how many there are, how many shards they share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from distgrad.autograd import stream
from distgrad.autograd.mode import rank_label
from distgrad.comm import Communicator, cluster, connect, cores, gather_json, guard, tuning
from distgrad.console import replace_what_cannot_be_encoded
from distgrad.errors import LaunchError, MismatchError
from distgrad.parallel import core_type, numerics
from distgrad.parallel.shards import ShardPosition, check_shards, current_shard, runs
from distgrad.perrank import PerRank


class World:
    """All ranks of the job and the logical shards they share; made by ``init``."""

    def __init__(
        self, comm: Communicator, shards: int | None, *, threads: int | None = None
    ) -> None:
        self.comm, self.threads = comm, threads
        self.rank, self.size = comm.rank, comm.size
        self.shards = check_shards(shards, self.size)
        self.canonical = shards is not None
        """Whether the same bits on any number of ranks were asked for (``shards`` was given)."""
        self.runs = runs(self.shards, self.size)
        self.my_shards = self.runs[self.rank]
        self._outside = ShardPosition(0, self.rank, 1, self.size, first=True, last=True)

    @property
    def position(self) -> ShardPosition:
        """Which part of a batch this thread computes; outside a shard each rank is an equal one."""
        return current_shard() or self._outside

    def print(self, *values: object) -> None:
        """Print once for the whole job, at once: on rank 0. Every rank may call it."""
        if self.rank == 0:
            print(*values, flush=True)

    def __repr__(self) -> str:
        name = self.comm.transport.name
        return f"World(rank={self.rank}, size={self.size}, shards={self.shards}, {name})"


_current: PerRank[World | None] = PerRank(None)
on_join: list[Callable[[World], None]] = []
"""Called on every rank with the world it has joined, in the same order, so collectives may be."""
_PATIENCE = 300.0  # seconds
_WARNING = 30.0  # seconds
in_worker = False
"""Whether this process is a worker of a DataLoader, which is no rank; it sets this itself."""


def init(
    shards: int | None = None,
    *,
    threads: int | None = None,
    timeout: float | None = None,
    warn_after: float | None = None,
) -> World:
    """Join the job's ranks: MPI under mpirun or srun, simulated under ``distgrad debug``, else one.

    ``shards`` (a power of two, at least the number of ranks) asks for the same bits on any number
    of ranks; without it there is one shard per rank. ``threads`` are BLAS threads per rank.
    ``timeout`` (seconds, 300 if it is left out) is how long a rank waits for one that does not
    come, here and in a collective; after ``warn_after`` seconds (30; ``math.inf``: never) it is
    printed who is missing, in which collective, and where all ranks are in their code. A second
    call returns the world that exists.
    Errors: LaunchError (also for a second call with other settings), MismatchError if ranks ask for
    different shards.
    """
    existing = _current.get()
    if existing is not None:
        _check_again(
            existing, shards=shards, threads=threads, timeout=timeout, warn_after=warn_after
        )
        return existing
    if in_worker:
        raise LaunchError(
            "dg.init, or something that needs it, ran in a worker process of a DataLoader, which "
            "is no rank: keep the script's start under `if __name__ == '__main__':`"
        )
    replace_what_cannot_be_encoded()
    patience = _PATIENCE if timeout is None else timeout
    warning = _WARNING if warn_after is None else warn_after
    transport = connect(timeout=patience, warn_after=warning)
    transport.state.warn_after = warning
    comm = Communicator(transport, timeout=patience)
    world = World(comm, shards, threads=threads)
    _agree(world, shards, threads)
    _current.set(world)
    rank_label.set(f"[rank {world.rank}/{world.size}] ")
    stream.rank.set(world.rank)
    for listener in on_join:
        listener(world)
    return world


def current_world() -> World:
    """Return the calling rank's world, joining it if ``init`` was not called."""
    return _current.get() or init()


def joined_world() -> World | None:
    """Return the calling rank's world if it has joined one."""
    return _current.get()


def _check_again(world: World, **asked: float | None) -> None:
    """Raise LaunchError if a second ``init`` asks for another world than there is."""
    shards = world.shards if world.canonical else None
    warn_after = world.comm.transport.state.warn_after
    made = {"shards": shards, "threads": world.threads, "timeout": world.comm.timeout}
    made["warn_after"] = warn_after
    for name, value in asked.items():
        if value is not None and value != made[name]:
            has = f"without {name}" if made[name] is None else f"with {name}={made[name]}"
            raise LaunchError(
                f"dg.init({name}={value}) after a world {has} was made (a DataLoader or model "
                f"makes one too); call dg.init once, at the start of the script"
            )


def _agree(world: World, shards: int | None, threads: int | None) -> None:
    """Compare settings and numerics across ranks, and set the BLAS threads."""
    # Several hardware threads may be one core: BLAS threads are shared out by the former.
    allowed, host = cores.spell(os.sched_getaffinity(0)), world.comm.transport.host
    mine: dict[str, Any] = {"shards": shards, "host": host, "hardware threads": allowed}
    mine |= {"cores": cores.mine(), "threads": numerics.threads_asked_for(threads)}
    state = world.comm.transport.state
    if world.rank == 0 and world.size > 1:  # the others go by what rank 0 has
        mine["tunings"], warning = tuning.stored(os.environ)
        if warning:
            guard.say(warning, state.label)
    everyone = gather_json(world.comm, mine, "dg.init")
    if found := everyone[0].get("tunings"):
        state.tuning = tuning.pick(found, cluster.look(world.comm).as_json())
    asked = [e["shards"] for e in everyone]
    if any(a != asked[0] for a in asked):
        other = next(r for r, a in enumerate(asked) if a != asked[0])
        raise MismatchError(
            f"[rank {world.rank}/{world.size}] rank 0 called dg.init(shards={asked[0]}), rank "
            f"{other} dg.init(shards={asked[other]}); pass the same number on every rank"
        )
    # Ranks bound to cores of their own keep them; ranks that see the same cores divide them.
    alike = sum(1 for e in everyone if e["host"] == host and e["hardware threads"] == allowed)
    share = max(1, cores.count(allowed) // alike)
    numerics.set_threads(threads, 1 if world.canonical else share)
    numerics.self_test()
    if world.rank == 0:
        core_type.warn()
    prints = gather_json(world.comm, numerics.fingerprint(), "dg.init")
    if world.rank == 0 and world.size > 1 and world.comm.transport.timed:  # others take turns
        places = [cores.Place(e["host"], e["cores"], e["threads"]) for e in everyone]
        for told in cores.at_start(places):
            guard.say(told, state.label)
    numerics.compare(prints, world.rank)
