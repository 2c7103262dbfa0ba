"""What the verbs that start a program have in common: how many ranks, which script or module."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from distgrad.errors import LaunchError
from distgrad.observe.terminal import typed
from distgrad.observe.terminal.command import VARIABLE as COMMAND
from distgrad.observe.terminal.displays import PLAIN
from distgrad.observe.timeline.asked import VARIABLE as TIMELINE


def add_options(parser: argparse.ArgumentParser, *, ranks: str = "") -> None:
    """Add -n, the script or module, and its arguments.

    ``ranks`` says what -n is where it is left out; without it -n has to be given.
    """
    count = f"number of ranks (default: {ranks})" if ranks else "number of ranks"
    # -np is what mpirun's users type.
    parser.add_argument("-n", "-np", type=int, required=not ranks, metavar="N", help=count)
    # All that follows is the module's, as it is for python.
    parser.add_argument(
        "-m",
        dest="module",
        nargs=argparse.REMAINDER,
        metavar="MODULE",
        help="run a module in place of a script, as `python -m` does; its arguments follow",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help=f"lines in place of one that is drawn again and again ({PLAIN}=1): for screen readers",
    )
    parser.add_argument("script", nargs="?", help="the Python script")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="its arguments")
    count = "[-n N]" if ranks else "-n N"
    parser.usage = f"{parser.prog} {count} [OPTION ...] (SCRIPT | -m MODULE) [ARGUMENT ...]"


def add_timeline(parser: argparse.ArgumentParser) -> None:
    """Add --timeline."""
    parser.add_argument(
        "--timeline",
        metavar="FOLDER",
        help="record what each rank does, and when, for https://ui.perfetto.dev",
    )


def timeline(options: argparse.Namespace) -> dict[str, str]:
    """Return the variables by which ranks are asked for a timeline."""
    if options.timeline is None:
        return {}
    return {TIMELINE: str(Path(options.timeline).resolve())}


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot be started. Errors: LaunchError, and SystemExit with the usage."""
    check_ranks(options)
    check_program(options)


def check_program(options: argparse.Namespace) -> None:
    """Refuse a program that is not there. Errors: LaunchError, and SystemExit with the usage."""
    if options.module is not None:
        if not options.module:
            options.parser.error("-m: name a module after it")
        check_module(options.module[0])
        return
    if options.script is None:
        options.parser.error("name a script (or -m and a module) to start")
    if Path(options.script).is_dir():
        raise LaunchError(f"'{options.script}' is a folder; name the script in it")
    if not Path(options.script).is_file():
        raise LaunchError(f"there is no script '{options.script}'; check the path")


def check_ranks(options: argparse.Namespace) -> None:
    """Refuse a job without ranks. Errors: LaunchError."""
    if options.n < 1:
        raise LaunchError(f"-n {options.n}: a job needs at least one rank")


def told(options: argparse.Namespace) -> dict[str, str]:
    """Return the variables by which the program knows how it was started."""
    return {COMMAND: typed(sys.orig_argv)} | ({PLAIN: "1"} if options.plain else {})


def program(options: argparse.Namespace) -> list[str]:
    """Return what Python is to run, and its arguments."""
    if options.module is not None:
        return ["-m", *options.module]
    return [options.script, *options.args]


def check_module(name: str) -> ModuleSpec:
    """Return where ``python -m name`` finds its program, importing nothing. Errors: LaunchError."""
    sys.path.insert(0, os.getcwd())  # as python -m does
    try:
        spec = _found(name)
        if spec is not None and spec.submodule_search_locations is not None:
            if _below(spec, f"{name}.__main__") is None:
                raise LaunchError(
                    f"'{name}' is a package without a __main__.py; name a module in it, as in "
                    f"-m {name}.MODULE"
                )
            spec = _below(spec, f"{name}.__main__")
    finally:
        sys.path.remove(os.getcwd())
    if spec is None:
        ending = "; leave .py out after -m" if name.endswith(".py") else ""
        raise LaunchError(
            f"there is no module '{name}': Python looks in this folder, in PYTHONPATH and among "
            f"what is installed{ending}"
        )
    return spec


def _found(name: str) -> ModuleSpec | None:
    top, *parts = name.split(".")
    try:
        spec = find_spec(top)  # of one without a dot it imports nothing
    except ValueError:  # "" is no name, and a module may lack its spec
        return None
    known = top
    for part in parts:
        known = f"{known}.{part}"
        spec = None if spec is None else _below(spec, known)
    return spec


def _below(package: ModuleSpec, name: str) -> ModuleSpec | None:
    folders = package.submodule_search_locations
    return None if folders is None else PathFinder.find_spec(name, [*folders])
