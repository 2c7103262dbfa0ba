"""The command line: one module a verb, each with its options and its work."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import NoReturn

from distgrad import __version__
from distgrad.cli import bench, debug, doctor, plan, report, run, submit, top, warm
from distgrad.console import columns_of, replace_what_cannot_be_encoded, wrapped
from distgrad.errors import DistgradError

__all__ = ["main"]

VERBS = {
    "run": run,
    "submit": submit,
    "debug": debug,
    "doctor": doctor,
    "bench": bench,
    "plan": plan,
    "warm": warm,
    "report": report,
    "top": top,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    replace_what_cannot_be_encoded()
    words = sys.argv[1:] if arguments is None else [*arguments]
    options = _parse(words)
    options.words = words
    try:
        status: int = options.work(options)
        return status
    except DistgradError as error:
        print(wrapped(f"distgrad: {error}", columns_of(sys.stderr)), file=sys.stderr)
        return 2


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what the words ask for; a mistake ends with the usage of the verb it was made in."""
    parser = _parser()
    if words and words[0] not in VERBS and words[0].endswith(".py"):
        parser.error(f"'{words[0]}' is a script: start it with `distgrad run {words[0]}`")
    if words and words[0] not in VERBS and not words[0].startswith("-"):
        near = difflib.get_close_matches(words[0], VERBS, 1)
        advice = f"did you mean `distgrad {near[0]}`?" if near else "`distgrad --help` lists them"
        parser.error(f"there is no command '{words[0]}': {advice}")
    options, unknown = parser.parse_known_args(words)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


class _Parser(argparse.ArgumentParser):
    """Breaks what it says about a mistake between words."""

    def error(self, message: str) -> NoReturn:
        """Say it below the usage, and leave."""
        self.print_usage(sys.stderr)
        text = wrapped(f"{self.prog}: error: {message}", columns_of(sys.stderr))
        self.exit(2, f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="distgrad",
        description="Start training on ranks, look at what it does, measure what joins the ranks.",
    )
    parser.add_argument("--version", action="version", version=f"distgrad {__version__}")
    verbs = parser.add_subparsers(required=True, metavar=" | ".join(VERBS))
    for name, verb in VERBS.items():
        command = verbs.add_parser(name, help=verb.HELP)
        command.set_defaults(work=verb.work, parser=command)
        verb.add_options(command)
    return parser
