"""The command line: one module a verb, each with its options and its work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from distgrad import __version__
from distgrad.cli import bench, debug, plan, run, warm
from distgrad.console import replace_what_cannot_be_encoded
from distgrad.errors import DistgradError

__all__ = ["main"]

VERBS = {"run": run, "debug": debug, "bench": bench, "plan": plan, "warm": warm}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    replace_what_cannot_be_encoded()
    options = _parser().parse_args(arguments)
    options.words = sys.argv[1:] if arguments is None else [*arguments]
    try:
        status: int = options.work(options)
        return status
    except DistgradError as error:
        print(f"distgrad: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="distgrad",
        description="Start training scripts on ranks, measure what joins them, plan for more.",
    )
    parser.add_argument("--version", action="version", version=f"distgrad {__version__}")
    verbs = parser.add_subparsers(required=True, metavar=" | ".join(VERBS))
    for name, verb in VERBS.items():
        command = verbs.add_parser(name, help=verb.HELP)
        command.set_defaults(work=verb.work)
        verb.add_options(command)
    return parser
