"""``distgrad bench``: what an all-reduce costs between these ranks, by algorithm and size."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from distgrad import __version__
from distgrad.cli import bench_tune, run
from distgrad.cli.bench_measure import Row, measure
from distgrad.cli.bench_report import draw, tables
from distgrad.cli.bench_sums import candidates, leave_gloo
from distgrad.cli.outputs import check_outputs
from distgrad.comm import ALL_REDUCE, AUTO, gather_json, launchers
from distgrad.comm.algorithms import choose
from distgrad.comm.cluster import Cluster, look
from distgrad.comm.tuning import Tuning
from distgrad.errors import DistgradError, LaunchError
from distgrad.parallel.world import World, init

HELP = "measure all-reduces between ranks: time, bandwidth, overlap"

SIZES = [1 << 10 << shift for shift in range(0, 15, 2)]
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("-n", type=int, metavar="N", help="start N ranks (else: run under mpirun)")
    parser.add_argument(
        "--sizes",
        type=size_of,
        nargs="+",
        default=SIZES,
        metavar="BYTES",
        help="bytes of the arrays, as in 4096 64K 16M (default: 1K to 16M)",
    )
    parser.add_argument(
        "--dtype", default="float32", choices=["float32", "float64", "int32", "int64"]
    )
    parser.add_argument(
        "--algorithms",
        nargs="+",
        choices=[*ALL_REDUCE, AUTO],
        metavar="NAME",
        help=f"of {', '.join([*ALL_REDUCE, AUTO])} (default: all)",
    )
    parser.add_argument("--no-peers", action="store_true", help="without mpi4py's and gloo's")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="measure the thresholds by which distgrad chooses, and keep them for dg.init",
    )
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default: 15)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("--plot", metavar="FILE", help="draw them (needs matplotlib)")
    run.add_launch_options(parser)


def work(options: argparse.Namespace) -> int:
    """Measure, if this is a job's rank, else start the job; return the exit status."""
    started = launchers.started(os.environ)
    if started is None:
        if options.n is None or options.n == 1:
            raise LaunchError(
                "one rank has nobody to sum with, so there is nothing to measure: start several "
                "with `distgrad bench -n 2` or `mpirun -n 2 distgrad bench`"
            )
        _check_files(options)
        return run.start(options, [sys.executable, "-m", "distgrad", *options.words])
    if options.n is not None and started.size not in (None, options.n):
        raise LaunchError(
            f"-n {options.n} inside a job of {started.size} ranks: leave -n out, or start "
            f"`distgrad bench -n {options.n}` outside of it"
        )
    world = init(threads=1)
    _agree_on_files(options, world)
    try:
        _bench(options, world)
    finally:
        leave_gloo()
    return 0


def _bench(options: argparse.Namespace, world: World) -> None:
    comm = world.comm
    if comm.size == 1:
        raise LaunchError(
            "this job has one rank, which has nobody to sum with: start it on several, as in "
            "`mpirun -n 2 distgrad bench`"
        )
    cluster = look(comm)
    if options.tune:
        world.print(header(cluster, comm.transport.host))
        tuning = bench_tune.tune(world, options.sizes, options.rounds)
        world.print(bench_tune.keep(world, tuning))
        return
    found, left_out = candidates(comm, options.algorithms, not options.no_peers)
    text = header(cluster, comm.transport.host)
    text += f"\n{options.dtype}, {AUTO!r} is {choose(comm.topology, False)!r} here"
    text += f", {choose(comm.topology, True)!r} with shards{_tuned(comm.transport.state.tuning)}"
    world.print(text)
    for name, reason in left_out.items():
        world.print(f"{name} is left out: {reason}")
    rows = measure(comm, found, options.sizes, np.dtype(options.dtype), options.rounds)
    if world.rank:
        return
    print(tables(rows), flush=True)
    if options.json:
        result = as_json(rows, cluster, options.dtype, left_out)
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    if options.plot:
        draw(options.plot, rows, text)


def header(cluster: Cluster, host: str) -> str:
    """Return what was measured on, in one line."""
    ranks = cluster.ranks_per_node
    shown = ", ".join(map(str, ranks[:8])) + (", …" if len(ranks) > 8 else "")
    nodes = f"{len(ranks)} node{'s' if len(ranks) > 1 else ''}"
    return (
        f"distgrad {__version__} on {' and '.join(cluster.cpus)} ({host}): {sum(ranks)} ranks, "
        f"{shown} on {nodes}, {cluster.library}, {cluster.transport}"
    )


def _tuned(tuning: Tuning) -> str:
    known = {name: value for name, value in asdict(tuning).items() if value is not None}
    said = ", ".join(f"{name} {value}" for name, value in known.items())
    return f"; tuned: {said}" if said else ""


def as_json(
    rows: list[Row], cluster: Cluster, dtype: str, left_out: dict[str, str]
) -> dict[str, object]:
    """Return everything as JSON carries it; seconds, bytes per second."""
    return {
        "distgrad": __version__,
        **cluster.as_json(),
        "ranks": sum(cluster.ranks_per_node),
        "dtype": dtype,
        "left_out": left_out,
        "rows": [{**asdict(row), "bandwidth": row.bandwidth} for row in rows],
    }


def size_of(text: str) -> int:
    """Return the bytes that ``4096``, ``64K``, ``64KiB`` or ``16M`` stand for."""
    match = re.fullmatch(r"(\d+) ?([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    found = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: a size is a number of bytes, as 4096, 64K, 1M")
    return found


# -- files that rank 0 writes -----------------------------------------------------------------


def _check_files(options: argparse.Namespace) -> None:
    """Refuse before anything is measured what could not be kept. Errors: DistgradError."""
    if options.rounds < 1:
        raise LaunchError(f"--rounds {options.rounds}: a median needs at least one round")
    if options.tune:
        bench_tune.path()
        if options.json or options.plot:
            raise DistgradError(
                "--tune writes one file, of thresholds: leave --json and --plot out"
            )
    check_outputs(options.json, options.plot)


def _agree_on_files(options: argparse.Namespace, world: World) -> None:
    """Let rank 0 look, and all ranks end if it finds a fault."""
    fault: DistgradError | None = None
    if world.rank == 0:
        try:
            _check_files(options)
        except DistgradError as error:
            fault = error
    if gather_json(world.comm, fault is not None, "distgrad bench")[0]:
        if fault is not None:
            print(f"distgrad: {fault}", file=sys.stderr, flush=True)
        sys.exit(2)
