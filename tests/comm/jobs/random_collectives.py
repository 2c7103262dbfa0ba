"""Random collectives, several in flight, compared with MPI's own: NUMBER of them, from a SEED.

mpirun -n 3 python tests/comm/jobs/random_collectives.py 20000 7
"""

from __future__ import annotations

import gc
import os
import sys
from itertools import pairwise

import numpy as np

from distgrad.comm import ALL_REDUCE, AUTO, Communicator, connect

INTEGERS = ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"]
FLOATS = ["float32", "float64"]
COMPLEX = ["complex64", "complex128"]
DTYPES = {
    "sum": INTEGERS + FLOATS + COMPLEX,
    "prod": INTEGERS + FLOATS + COMPLEX,
    "mean": FLOATS + COMPLEX,
    "max": INTEGERS + FLOATS,
    "min": INTEGERS + FLOATS,
    "band": INTEGERS,
    "bor": INTEGERS,
    "bxor": INTEGERS,
}


class Pair:
    """A communicator and MPI's, of the same ranks."""

    def __init__(self, comm, mpi):
        self.comm, self.mpi = comm, mpi
        self.rank, self.size = comm.rank, comm.size
        self.algorithms = [AUTO] + [
            name
            for name, algorithm in ALL_REDUCE.items()
            if algorithm.missing is None or not algorithm.missing(comm.transport)
        ]


class Case:
    """One collective: what all ranks know of it, and this rank's data."""

    def __init__(self, pair, common, seed):
        self.pair, self.common, self.own = pair, common, np.random.default_rng(seed)
        self.op = str(common.choice([*DTYPES]))
        self.dtype = np.dtype(str(common.choice(DTYPES[self.op])))
        self.root = int(common.integers(pair.size))
        self.name = f"{self.op} {self.dtype}"

    def count(self):
        """A number of elements, the same on all ranks: mostly few."""
        most = self.common.choice([1, 8, 200, 5000, 200_000], p=[0.1, 0.3, 0.4, 0.19, 0.01])
        return int(self.common.integers(most + 1))

    def data(self, count):
        """Small numbers, whose sums and products are exact in any order."""
        return self.own.integers(0, 3, count).astype(self.dtype)

    def lengths(self):
        """How many elements each rank has for each, the same on all ranks."""
        most = self.common.choice([2, 50, 3000])
        return self.common.integers(0, most + 1, (self.pair.size, self.pair.size))

    def mpi_op(self):
        from mpi4py import MPI  # noqa: PLC0415 - distgrad chooses when MPI starts

        names = {"mean": "SUM"}
        return getattr(MPI, names.get(self.op, self.op.upper()))

    def combined(self, array):
        """MPI's word for it."""
        out = np.empty_like(array)
        self.pair.mpi.Allreduce(array, out, self.mpi_op())
        return out / self.pair.size if self.op == "mean" else out


def all_reduce(c):
    array = c.data(c.count())
    before = array.copy()
    algorithm = str(c.common.choice(c.pair.algorithms)) if c.op in ("sum", "mean") else AUTO
    canonical = bool(c.common.integers(2)) and algorithm == AUTO
    work = c.pair.comm.start_all_reduce(
        array, op=c.op, algorithm=algorithm, canonical=canonical, name=c.name
    )
    return work, lambda: array, lambda: c.combined(before)


def reduce(c):
    array = c.data(c.count())
    before = array.copy()
    work = c.pair.comm.start_reduce(array, c.root, op=c.op, name=c.name)

    def expected():
        out = np.empty_like(before)
        c.pair.mpi.Reduce(before, out, c.mpi_op(), c.root)
        if c.pair.rank != c.root:
            return before
        return out / c.pair.size if c.op == "mean" else out

    return work, lambda: array, expected


def reduce_scatter(c):
    ends = np.cumsum([0, *c.lengths()[0]])
    slices = [slice(int(a), int(b)) for a, b in pairwise(ends)]
    array = c.data(ends[-1])
    before = array.copy()
    canonical = bool(c.common.integers(2))
    work, own = c.pair.comm.start_reduce_scatter(
        array, op=c.op, slices=slices, canonical=canonical, name=c.name
    )

    def expected():
        out = np.empty_like(own)
        c.pair.mpi.Reduce_scatter(before, out, [s.stop - s.start for s in slices], c.mpi_op())
        return out / c.pair.size if c.op == "mean" else out

    return work, lambda: own, expected


def broadcast(c):
    array = c.data(c.count())
    out = array.copy()
    work = c.pair.comm.start_broadcast(array, c.root, name=c.name)

    def expected():
        c.pair.mpi.Bcast(out, c.root)
        return out

    return work, lambda: array, expected


def all_gather(c):
    counts = c.lengths()[0]
    array = c.data(counts[c.pair.rank])
    work = c.pair.comm.start_all_gather_arrays(array, name=c.name)

    def expected():
        out = np.empty(counts.sum(), c.dtype)
        c.pair.mpi.Allgatherv(array, [out, counts])
        return out

    return work, lambda: np.concatenate(work.result), expected


def gather(c):
    counts = c.lengths()[0]
    array = c.data(counts[c.pair.rank])
    work = c.pair.comm.start_gather(array, c.root, name=c.name)

    def expected():
        out = np.empty(counts.sum(), c.dtype)
        here = c.pair.rank == c.root
        c.pair.mpi.Gatherv(array, [out, counts] if here else None, c.root)
        return out if here else array[:0]

    return work, lambda: np.concatenate([array[:0], *(work.result or ())]), expected


def scatter(c):
    counts = c.lengths()[0]
    here = c.pair.rank == c.root
    given = [c.data(n) for n in counts]
    work = c.pair.comm.start_scatter(given if here else None, c.root, name=c.name)

    def expected():
        out = np.empty(counts[c.pair.rank], c.dtype)
        c.pair.mpi.Scatterv([np.concatenate(given), counts] if here else None, out, c.root)
        return out

    return work, lambda: work.result, expected


def all_to_all(c):
    counts = c.lengths()
    given = [c.data(n) for n in counts[c.pair.rank]]
    work = c.pair.comm.start_all_to_all(given, name=c.name)

    def expected():
        coming = counts[:, c.pair.rank]
        out = np.empty(coming.sum(), c.dtype)
        c.pair.mpi.Alltoallv([np.concatenate(given), counts[c.pair.rank]], [out, coming])
        return out

    return work, lambda: np.concatenate(work.result), expected


class Both:
    """A send and a receive as one work."""

    def __init__(self, *works):
        self.works = works

    def poll(self):
        return all([work.poll() for work in self.works])  # noqa: C419 - all of them go on

    def wait(self):
        for work in self.works:
            work.wait()


def send_recv(c):
    shift = int(c.common.integers(c.pair.size))
    dest, source = (c.pair.rank + shift) % c.pair.size, (c.pair.rank - shift) % c.pair.size
    counts, tag = c.lengths()[0], int(c.common.integers(4))
    array = c.data(counts[c.pair.rank])
    into = np.empty(counts[source], c.dtype) if c.common.integers(2) else None
    receive = c.pair.comm.start_recv(into, source, tag=tag)
    work = Both(receive, c.pair.comm.start_send(array, dest, tag=tag))

    def expected():
        out = np.empty(counts[source], c.dtype)
        c.pair.mpi.Sendrecv(array, dest, 0, out, source, 0)
        return out

    return work, lambda: receive.result, expected


KINDS = [
    all_reduce,
    reduce,
    reduce_scatter,
    broadcast,
    all_gather,
    gather,
    scatter,
    all_to_all,
    send_recv,
]


def held():
    """Return resident memory in MiB, and the number of open descriptors."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir("/proc/self/fd"))


def check(pairs, number, seed):
    """Run them; AssertionError names the first that differs from MPI's."""
    rank, state = pairs[0].rank, pairs[0].comm.transport.state
    gc.collect()  # what earlier tests have left by chance
    # What earlier tests of this process have left on purpose.
    failed, known = len(state.failed_works), len(state.contexts)
    torn = {c for c, p in state.contexts.items() if p.unfinished}
    gc.collect()  # their descriptors are not to be closed while these are counted
    done, early = 0, None
    while done < number:
        common = np.random.default_rng((seed, done))
        started = []
        for i in range(int(common.integers(1, 7))):
            pair = pairs[int(common.integers(len(pairs)))]
            kind = KINDS[int(common.integers(len(KINDS)))]
            # Groups of another size draw other numbers.
            alike = np.random.default_rng((seed, done, i))
            case = Case(pair, alike, (seed, done, i, rank, 1))
            started.append((kind, case, *kind(case)))
        order = np.random.default_rng((seed, done, rank)).permutation(len(started))
        for at in order:
            work = started[at][2]
            if at % 2:
                work.poll()
            work.wait()
        for kind, case, _, found, expected in started:
            what = f"{kind.__name__} {case.name} of round {done}, seed {seed}"
            np.testing.assert_array_equal(found(), expected(), err_msg=what)
        done += len(started)
        if early is None and done > number // 4:
            early = *held(), len(state.contexts)
    assert state.works == []
    assert len(state.failed_works) == failed
    assert {c for c, p in state.contexts.items() if p.unfinished} == torn
    late = *held(), len(state.contexts)
    assert late[0] - early[0] < 32, f"memory grew from {early[0]:.0f} to {late[0]:.0f} MiB"
    assert late[1] == early[1], f"descriptors: {early[1]}, then {late[1]}"
    assert late[2] < known + 20 + sum(8 * pair.size for pair in pairs), f"{late[2]} contexts"
    return done, early, late


def pairs_of(comm):
    """Return all ranks, the same backwards, and those of the same parity."""
    from mpi4py import MPI  # noqa: PLC0415 - distgrad chooses when MPI starts

    world = MPI.COMM_WORLD
    rank = world.rank
    return [
        Pair(comm, world.Dup()),
        Pair(comm.split(0, -rank), world.Split(0, -rank)),
        Pair(comm.split(rank % 2), world.Split(rank % 2, rank)),
    ]


if __name__ == "__main__":
    number, seed = map(int, sys.argv[1:])
    comm = Communicator(connect(), timeout=120)
    done, early, late = check(pairs_of(comm), number, seed)
    comm.barrier()
    if comm.rank == 0:
        print(f"{done} collectives on {comm.size} ranks: no mismatch; MiB, descriptors, contexts")
        print(f"after a quarter {early}, at the end {late}")
