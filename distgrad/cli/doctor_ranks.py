"""``distgrad doctor`` on several ranks: what they know, compared, and what joins them, measured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distgrad.cli import doctor_machine
from distgrad.cli.bench_measure import measure
from distgrad.cli.bench_report import size_name
from distgrad.cli.bench_sums import candidates
from distgrad.cli.doctor_finding import Finding, note, ok, problem
from distgrad.comm import AUTO, Communicator, cores, gather_json
from distgrad.comm.algorithms import choose
from distgrad.comm.cluster import Cluster
from distgrad.comm.stacks import spelled
from distgrad.comm.tcp import LIMIT
from distgrad.observe.durations import spell_seconds
from distgrad.parallel import numerics

_NAME = "distgrad doctor"
_SIZES = (1 << 10, 1 << 22)  # bytes of the sums that are timed
_ROUNDS = 5
_EAGER = "OMPI_MCA_btl_tcp_eager_limit"
_LATE = 0.5  # seconds by which clocks may differ
# Those that a launcher gives each rank, or that only a first rank needs.
_OWN = {"DISTGRAD_TUNING", "DISTGRAD_THREADS_AUTO", "PYTHONPATH", "TMPDIR", "LD_PRELOAD"}


@dataclass(frozen=True)
class Rank:
    """What one rank knows of itself."""

    host: str
    cores: str
    """That it may run on: "0-3,8"."""
    place: str
    findings: list[dict[str, Any]]
    versions: dict[str, str]
    numerics: dict[str, Any]
    variables: dict[str, str]


def gather(comm: Communicator, findings: Sequence[Finding]) -> list[Rank]:
    """Return what all ranks know of themselves, in rank order; collective."""
    transport = comm.transport
    mine = Rank(
        host=transport.host,
        cores=cores.mine(),
        place=transport.place,
        findings=[asdict(finding) for finding in findings],
        versions=doctor_machine.versions(),
        numerics=numerics.fingerprint(),
        variables=doctor_machine.variables(os.environ),
    )
    return [Rank(**found) for found in gather_json(comm, asdict(mine), _NAME)]


# -- what all have told, compared: no rank is asked again ----------------------------------------


def who_is_there(ranks: Sequence[Rank], found: Cluster, seconds: float) -> Iterator[Finding]:
    """Say which ranks have come, where they are, and what joins them."""
    hosts = len({rank.host for rank in ranks})
    where = f"{hosts} host{'s' if hosts > 1 else ''}"
    count = f"{len(ranks)} rank{'s' if len(ranks) > 1 else ''}"
    text = f"{count} on {where} found each other: {found.library}, {found.transport}"
    yield ok(text, f"the first one {spell_seconds(seconds)} after it was asked")


def whats_different(ranks: Sequence[Rank]) -> Iterator[Finding]:
    """Compare versions, what bits depend on, and variables."""
    told = [
        *_differences(ranks, "versions", lambda r: r.versions, problem, "pip install '{0}=={1}'"),
        *_differences(ranks, "what bits depend on", lambda r: r.numerics, note, _NUMERICS),
        *_differences(
            ranks,
            "variables",
            lambda r: {n: v for n, v in r.variables.items() if n not in _OWN},
            note,
            "export {0}={1}  # in ~/.bashrc of every host, or --mpirun='-x {0}'",
        ),
    ]
    yield from told or [ok("versions, numerics and variables are the same on all ranks")]


_NUMERICS = "unset OPENBLAS_CORETYPE ONEDNN_MAX_CPU_ISA  # on all hosts, and the same versions"


def _differences(
    ranks: Sequence[Rank],
    what: str,
    facts: Callable[[Rank], Mapping[str, Any]],
    state: Callable[[str, str], Finding],
    cure: str,
) -> Iterator[Finding]:
    everyone = [facts(rank) for rank in ranks]
    for name in dict.fromkeys(name for each in everyone for name in each):
        holders: dict[str, list[int]] = {}
        for rank, each in enumerate(everyone):
            holders.setdefault(str(each.get(name, "nothing")), []).append(rank)
        if len(holders) > 1:
            values = (f"{value} on {_where(held, ranks)}" for value, held in holders.items())
            typed = cure.format(name, everyone[0].get(name, ""))
            yield state(f"{what} differ: {name} is {', '.join(values)}", typed)


def _where(held: Sequence[int], ranks: Sequence[Rank]) -> str:
    hosts = [*dict.fromkeys(ranks[rank].host for rank in held)]
    shown = ", ".join(hosts[:4]) + (", …" if len(hosts) > 4 else "")
    return f"{spelled(held)} ({shown})"


def which_cores(ranks: Sequence[Rank]) -> Iterator[Finding]:
    """Say which cores each rank may run on, and who has to share."""
    places = [cores.Place(r.host, r.cores, numerics.threads_in(r.numerics)) for r in ranks]
    if told := cores.sharing(cores.crowds(tuple(places)), hosts=True):
        cure = f"distgrad doctor -n {max(1, len(ranks) // 2)}  # fewer ranks"
        yield problem(f"{told}, so that each waits for the others", cure)
        return
    if told := cores.overloaded(places, range(len(places))):
        yield problem(told, "unset OMP_NUM_THREADS OPENBLAS_NUM_THREADS  # a thread for each core")
        return
    host = ranks[0].host
    placed = [f"rank {i} on {cores.words(r.cores)}" for i, r in enumerate(ranks) if r.host == host]
    more = f", … of {len(placed)} ranks" if len(placed) > 8 else ""
    yield ok(f"cores of the first host: {', '.join(placed[:8])}{more}")


def who_shares_memory(ranks: Sequence[Rank]) -> Iterator[Finding]:
    """Say whether the ranks of each host share its memory."""
    alone = []
    for host in dict.fromkeys(rank.host for rank in ranks):
        here = [i for i, rank in enumerate(ranks) if rank.host == host]
        places = {ranks[i].place for i in here}
        if len(here) > 1 and (len(places) > 1 or "" in places):
            alone.append(host)
            text = f"{spelled(here)} are all on {host} and do not share its memory: sums are slower"
            yield problem(
                text, "docker run --ipc=host …  # all ranks in one container, as one user"
            )
    if not alone:
        yield ok("ranks of one host share its memory")


# -- what is measured by all ranks together ---------------------------------------------------


def how_fast_sums_are(comm: Communicator) -> Iterator[Finding]:
    """Measure the all-reduce that is used, as ``distgrad bench`` does; collective."""
    if comm.size == 1:
        yield ok("one rank sums with nobody")
        return
    found, _ = candidates(comm, [AUTO], peers=False)
    rows = measure(comm, found, _SIZES, np.dtype(np.float32), _ROUNDS, overlap=False)
    rows = [row for row in rows if row.algorithm == AUTO]
    told = ", ".join(f"{size_name(row.nbytes)} in {spell_seconds(row.seconds)}" for row in rows)
    yield ok(f"all_reduce ({choose(comm.topology, canonical=False)!r}) sums right", told)


def how_far_clocks_are(comm: Communicator) -> Iterator[Finding]:
    """Compare the hosts' clocks; collective."""
    comm.barrier()
    hosts, times = zip(*gather_json(comm, [comm.transport.host, time.time()], _NAME), strict=True)
    if len(set(hosts)) == 1:
        return
    apart = max(times) - min(times)
    figures = spell_seconds(apart)
    if apart > _LATE:
        last, first = hosts[times.index(max(times))], hosts[times.index(min(times))]
        text = f"the clock of {last} is ahead of that of {first}: dates of files and logs disagree"
        yield note(text, "sudo timedatectl set-ntp true  # on every host", figures)
    else:
        yield ok("the hosts' clocks agree", f"within {figures}")


def what_waits(environ: Mapping[str, str], found: Cluster) -> Iterator[Finding]:
    """Say which messages between hosts wait for their receiver."""
    if not found.library.startswith("Open MPI") or _EAGER not in environ:
        yield ok("how long a message may be that does not wait is the MPI's choice here")
        return
    limit = int(environ[_EAGER]) if environ[_EAGER].isdecimal() else 0
    if limit < LIMIT:
        text = f"{_EAGER}={environ[_EAGER]}: longer messages wait until their receiver looks"
        yield note(text, f"unset {_EAGER}  # distgrad takes {LIMIT}")
    else:
        yield ok(f"over TCP messages up to {size_name(limit)} do not wait for their receiver")
