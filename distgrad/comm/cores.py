"""Which cores ranks may run on, which ranks have to share some, and how that is said.

Cores are spelled as the kernel does, "0-3,8", so that a list of them is short in files, too.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from distgrad.comm.launchers import SIBLINGS
from distgrad.comm.stacks import spelled

_CROWDS = 4  # that are listed


class Place(NamedTuple):
    """Where a rank computes; ``cores`` is "" and ``threads`` 0 where that is not known."""

    host: str
    cores: str
    threads: int = 0
    """Of its matrix products."""


class Crowd(NamedTuple):
    """Ranks of one host that are more than the cores that they may run on."""

    host: str
    ranks: tuple[int, ...]
    cores: str


def mine() -> str:
    """Return the cores that this process may run on, each by its first hardware thread."""
    return spell(_cores_of(frozenset(os.sched_getaffinity(0))))


@lru_cache(maxsize=16)
def _cores_of(threads: frozenset[int]) -> frozenset[int]:
    """Return the cores of hardware threads; where the system does not say, each is one."""
    try:
        texts = [Path(SIBLINGS.format(thread)).read_text() for thread in threads]
    except OSError:
        return threads
    return frozenset(min(parse(text.strip())) for text in texts)


def spell(cores: Collection[int]) -> str:
    """Return cores as the kernel spells them: "0-3,8"."""
    return spelled(cores).partition(" ")[2].replace(" ", "")


def parse(text: str) -> frozenset[int]:
    """Return the cores that ``spell`` has spelled."""
    runs = (run.partition("-") for run in text.split(",") if run)
    return frozenset(n for a, _, b in runs for n in range(int(a), int(b or a) + 1))


def count(text: str) -> int:
    """Return how many cores are spelled."""
    return len(parse(text))


@lru_cache(maxsize=16)
def crowds(places: tuple[Place, ...]) -> tuple[Crowd, ...]:
    """Return who has to share cores, host by host."""
    found: list[Crowd] = []
    known = {rank: place for rank, place in enumerate(places) if place.cores}
    for host in dict.fromkeys(place.host for place in known.values()):
        here = {rank: parse(p.cores) for rank, p in known.items() if p.host == host}
        while crowd := _smallest_crowd(here):
            members, cores = crowd
            found.append(Crowd(host, members, spell(cores)))
            here = {rank: own - cores for rank, own in here.items() if rank not in members}
    return tuple(found)


def _smallest_crowd(
    here: Mapping[int, frozenset[int]],
) -> tuple[tuple[int, ...], frozenset[int]] | None:
    # Those that may run on these cores alone; the smallest set of cores says most.
    for allowed in sorted({*here.values()}, key=lambda cores: (len(cores), min(cores))):
        members = tuple(rank for rank, cores in here.items() if cores <= allowed)
        if len(members) > len(allowed):
            return members, allowed
    return None


@lru_cache(maxsize=16)
def room(places: tuple[Place, ...]) -> tuple[float, ...]:
    """Return how many cores each rank can keep busy, less than 1 for one that shares; 0: unknown.

    A rank that has more cores than threads keeps as many busy as it has threads.
    """
    shared = {
        rank: count(crowd.cores) / len(crowd.ranks)
        for crowd in crowds(places)
        for rank in crowd.ranks
    }
    return tuple(
        shared.get(rank, min(place.threads or cores, cores))
        for rank, place in enumerate(places)
        for cores in [count(place.cores)]
    )


# -- as words ----------------------------------------------------------------------------------


def sharing(found: Sequence[Crowd], *, hosts: bool = False) -> str:
    """Say who shares which cores, with their ``hosts`` or without; "" of nobody."""
    said = []
    for crowd in found[:_CROWDS]:
        where = f" of {crowd.host}" if hosts else ""
        said.append(f"{spelled(crowd.ranks)} share {words(crowd.cores)}{where}")
    more = f" and {len(found) - _CROWDS} more such groups" if len(found) > _CROWDS else ""
    return ", ".join(said) + more


def overloaded(places: Sequence[Place], ranks: Collection[int]) -> str:
    """Say which of the ``ranks`` have more threads than cores, and what to do; "" of nobody."""
    alike: dict[tuple[int, int], list[int]] = {}
    for rank in ranks:
        threads, cores = places[rank].threads, count(places[rank].cores)
        if 0 < cores < threads:
            alike.setdefault((threads, cores), []).append(rank)
    if not alike:
        return ""
    said = [
        f"{spelled(members)} {'has' if len(members) == 1 else 'have'} {threads} threads"
        f"{'' if len(members) == 1 else ' each'} on {cores} core{'' if cores == 1 else 's'}"
        for (threads, cores), members in alike.items()
    ]
    fewest = min(cores for _, cores in alike)
    return f"{', '.join(said)}: OMP_NUM_THREADS={fewest}, or a core for each thread"


def at_start(places: Sequence[Place]) -> list[str]:
    """Say what will slow ranks down, before they have computed anything: a sentence each."""
    said = []
    if found := crowds(tuple(places)):
        said.append(
            f"{sharing(found, hosts=True)}, so that each waits for the others: bind them apart "
            "(mpirun --bind-to none leaves it to the system), or start fewer ranks"
        )
    return [*said, *filter(None, [overloaded(places, range(len(places)))])]


def in_training(places: tuple[Place, ...], slow: Collection[int]) -> str:
    """Say of ``slow`` ranks which cores they lack that another has; "" if that is not it."""
    rooms = room(places)
    others = max((rooms[rank] for rank in range(len(places)) if rank not in slow), default=0)
    lacking = [rank for rank in slow if rooms[rank] < others]
    if found := [crowd for crowd in crowds(places) if not {*crowd.ranks}.isdisjoint(lacking)]:
        return f"{sharing(found)}: bind them apart"
    return overloaded(places, lacking)


def words(text: str) -> str:
    """Return cores as words: "core 1", "cores 0-3, 8"."""
    return f"core{'' if text.isdecimal() else 's'} {text.replace(',', ', ')}"
