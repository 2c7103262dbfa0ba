"""What the verbs that start a script have in common: how many ranks, which script."""

from __future__ import annotations

import argparse
from pathlib import Path

from distgrad.errors import LaunchError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add -n, the script and its arguments."""
    parser.add_argument("-n", type=int, required=True, metavar="N", help="number of ranks")
    parser.add_argument("script", help="the Python script")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="its arguments")


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot be started. Errors: LaunchError."""
    check_ranks(options)
    if Path(options.script).is_dir():
        raise LaunchError(f"'{options.script}' is a folder; name the script in it")
    if not Path(options.script).is_file():
        raise LaunchError(f"there is no script '{options.script}'; check the path")


def check_ranks(options: argparse.Namespace) -> None:
    """Refuse a job without ranks. Errors: LaunchError."""
    if options.n < 1:
        raise LaunchError(f"-n {options.n}: a job needs at least one rank")
