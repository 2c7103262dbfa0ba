"""``distgrad warm``: compile kernels before a program needs them, so that no first step waits."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np

from distgrad import kernels
from distgrad.cli import warm_calls
from distgrad.errors import LaunchError
from distgrad.observe.durations import spell_seconds
from distgrad.parallel.numerics import set_threads

HELP = "compile the kernels that training will need, and keep them"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "--dtype", choices=["float32", "float64"], action="append", help="(default: both)"
    )
    parser.add_argument(
        "script",
        nargs=argparse.REMAINDER,
        metavar="SCRIPT",
        help="run this program (a few steps of it) in place of all kernels",
    )


def work(options: argparse.Namespace) -> int:
    """Compile, group by group, and say what was."""
    tally = kernels.part("cache", "tally")
    if tally is None:
        raise LaunchError(f"there is nothing to compile: fused kernels: {kernels.status()}")
    folder = kernels.part("jit", "kept_in")
    where = folder() if folder is not None else None
    if where is None:
        raise LaunchError(
            "compiled kernels are not kept here: DISTGRAD_CACHE is off, or a warning above says why"
        )
    print(f"compiled kernels are kept in {where}", flush=True)
    begun, before = perf_counter(), tally()
    for name, run in _groups(options):
        started, known = perf_counter(), tally()
        run()
        new = tally() - known
        took = spell_seconds(perf_counter() - started)
        what = f"{new} compiled in {took}" if new else "all there"
        print(f"{name:>28}: {what}", flush=True)
    print(f"{tally() - before} kernels compiled in {spell_seconds(perf_counter() - begun)}")
    return 0


def _groups(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], None]]]:
    if options.script:
        script, *arguments = options.script
        yield script, lambda: _run(script, arguments)
        return
    set_threads(1, 1)  # as ranks have it: what multiplies then is another matter with more
    for dtype in map(np.dtype, options.dtype or ("float32", "float64")):
        for name, calls in warm_calls.groups(dtype):
            yield f"{name}, {dtype}", calls


def _run(script: str, arguments: list[str]) -> None:
    if not Path(script).is_file():
        raise LaunchError(f"{script}: there is no such program to warm up for")
    before, path = sys.argv, sys.path[:]
    sys.argv, sys.path[0] = [script, *arguments], str(Path(script).resolve().parent)
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before, path
