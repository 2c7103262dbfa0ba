"""``distgrad bench --tune``: measures the thresholds by which distgrad chooses, and keeps them.

A default gives way to what is faster by a margin, so that noise does not move it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from distgrad import files, nn
from distgrad.autograd.tensor import Tensor
from distgrad.cli.bench_measure import measure, medians_of_the_slowest
from distgrad.cli.bench_report import size_name
from distgrad.cli.bench_sums import Bound, Candidate
from distgrad.comm import Communicator
from distgrad.comm.algorithms import RING_BYTES, choose, tree
from distgrad.comm.cluster import look
from distgrad.comm.tuning import DEFAULTS, VARIABLE, Tuning, entries, path_of, text_of
from distgrad.errors import DistgradError
from distgrad.nn import functional as F
from distgrad.parallel.ddp import BUCKET_MB, DistributedDataParallel
from distgrad.parallel.future import Pending
from distgrad.parallel.world import World

_MARGIN = 0.05  # part of its time by which another choice has to be faster
_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0)  # MiB
_NEVER = 1 << 39  # bytes: halving, whatever the size
_LAYERS, _WIDTH, _BATCH = 6, 1024, 64  # a model of 24 MiB, whose layers are 4 MiB each
_STEPS = 3  # of a model; the first one is not counted


def path() -> Path:
    """Return the file that the thresholds go to. Errors: DistgradError if none is wanted."""
    found = path_of(os.environ)
    if found is None:
        raise DistgradError(
            f"--tune with {VARIABLE}=off has nowhere to keep what it finds: unset {VARIABLE}, or "
            f"let it name a file"
        )
    return found


def tune(world: World, sizes: Sequence[int], rounds: int) -> Tuning:
    """Measure what is used between these ranks; collective, the same result on all of them."""
    comm, state = world.comm, world.comm.transport.state
    state.tuning = DEFAULTS
    found = DEFAULTS
    if not comm.topology.shares:
        found = replace(found, ring_bytes=_ring_bytes(comm, sizes, rounds))
        if comm.size >= tree.HALVING_RANKS:
            found = replace(found, halving_bytes=_halving_bytes(comm, sizes, rounds))
    return replace(found, bucket_mb=_bucket_mb(world, rounds))


def keep(world: World, tuning: Tuning) -> str:
    """Write the file, on rank 0, beside what it holds of other clusters; return what to print."""
    cluster = look(world.comm).as_json()
    if world.rank:
        return ""
    target = path()
    try:
        others = entries(target)
    except DistgradError:  # dg.init has said so, and that this makes it anew
        others = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(target, durable=False) as file:
            file.write(text_of(others, cluster, tuning).encode())
    except OSError as error:
        raise DistgradError(
            f"{target} cannot be written ({error.strerror}): let {VARIABLE} name another file"
        ) from error
    return f"{table(tuning)}\nkept in {target}; dg.init reads it on a cluster like this one"


def table(tuning: Tuning) -> str:
    """Return each threshold with its default."""
    defaults = {
        "ring_bytes": RING_BYTES,
        "halving_bytes": tree.HALVING_BYTES,
        "bucket_mb": BUCKET_MB,
    }
    lines = [f"{'threshold':<16}{'default':>12}{'measured':>12}"]
    for name, value in asdict(tuning).items():
        show: Callable[[Any], str] = str if name == "bucket_mb" else size_name
        shown = "not used" if value is None else show(value)
        lines.append(f"{name:<16}{show(defaults[name]):>12}{shown:>12}")
    return "\n".join(lines)


def threshold(small: Mapping[int, float], large: Mapping[int, float]) -> int:
    """Return the bytes from which on ``large`` is taken: 0 if ``small`` is never clearly faster.

    Both map bytes to seconds.
    """
    sizes = sorted(small)
    won = [*takewhile(lambda s: small[s] < (1 - _MARGIN) * large[s], sizes)]
    if len(won) == len(sizes):
        return 2 * won[-1]
    return sizes[len(won)] if won else 0


def _ring_bytes(comm: Communicator, sizes: Sequence[int], rounds: int) -> int:
    names = [choose(comm.topology, canonical) for canonical in (True, False)]
    found = [Candidate(name, _binding(comm, name, DEFAULTS)) for name in names]
    return threshold(*_times(comm, found, sizes, rounds))


def _halving_bytes(comm: Communicator, sizes: Sequence[int], rounds: int) -> int:
    ways = {"halving": Tuning(halving_bytes=_NEVER), "direct": Tuning(halving_bytes=0)}
    halving = choose(comm.topology, canonical=True)
    found = [Candidate(name, _binding(comm, halving, tuning)) for name, tuning in ways.items()]
    return threshold(*_times(comm, found, sizes, rounds)) // comm.size  # it is of a rank's slice


def _binding(
    comm: Communicator, name: str, tuning: Tuning
) -> Callable[[int, np.dtype[Any]], Bound]:
    def bind(count: int, dtype: np.dtype[Any]) -> Bound:
        array = np.zeros(count, dtype)

        def start() -> Pending:
            comm.transport.state.tuning = tuning  # read while it runs, and one runs at a time
            return comm.start_all_reduce(array, algorithm=name)

        return Bound(array, start)

    return bind


def _times(
    comm: Communicator, candidates: Sequence[Candidate], sizes: Sequence[int], rounds: int
) -> list[dict[int, float]]:
    rows = measure(comm, candidates, sizes, np.dtype(np.float32), rounds, overlap=False)
    return [{r.nbytes: r.seconds for r in rows if r.algorithm == c.name} for c in candidates]


# -- buckets --------------------------------------------------------------------------------------


def _bucket_mb(world: World, rounds: int) -> float:
    world.comm.transport.state.tuning = DEFAULTS
    found = [[_step_seconds(world, mb) for mb in _BUCKETS] for _ in range(rounds)]
    return best_bucket(dict(zip(_BUCKETS, medians_of_the_slowest(world.comm, found), strict=True)))


def best_bucket(seconds: Mapping[float, float]) -> float:
    """Return the bucket size of the fastest step, the default unless it is clearly slower."""
    best = min(seconds, key=lambda mb: seconds[mb])
    return best if seconds[best] < (1 - _MARGIN) * seconds[BUCKET_MB] else BUCKET_MB


def _step_seconds(world: World, bucket_mb: float) -> float:
    """Return what forward, backward and reduction take for a model with buckets of this size."""
    layers: list[nn.Module] = []
    for _ in range(_LAYERS):
        layers += [nn.Linear(_WIDTH, _WIDTH), nn.ReLU()]
    model = nn.Sequential(*layers)
    ddp = DistributedDataParallel(model, world=world, bucket_mb=bucket_mb)
    x = np.ones((_BATCH, _WIDTH), np.float32)
    y = np.zeros(_BATCH, np.int64)
    seconds = []
    for _ in range(_STEPS):
        model.zero_grad()
        world.comm.barrier()
        since = perf_counter()
        ddp.backward(F.cross_entropy(model(Tensor(x)), y))
        seconds.append(perf_counter() - since)
    del ddp, model, layers
    gc.collect()  # its buckets may lie in /dev/shm, where there is not room for those of all
    return min(seconds[1:])
