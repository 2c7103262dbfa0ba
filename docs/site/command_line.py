"""The page of the command line: every verb with its options, as `--help` prints them."""

from __future__ import annotations

import argparse

from distgrad import cli


def page() -> str:
    """Return the page."""
    parser = cli._parser()
    verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    helps = {choice.dest: choice.help or "" for choice in verbs._choices_actions}
    parts = ["# Command line\n\nWhat `distgrad VERB --help` prints, for every verb.\n"]
    rows = [f"| [`distgrad {verb}`](#{verb}) | {helps[verb]} |" for verb in verbs.choices]
    parts.append("| verb | what it does |\n|---|---|\n" + "\n".join(rows) + "\n")
    for verb, command in verbs.choices.items():
        command.formatter_class = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=84)
        text = command.format_help().rstrip()
        parts.append(f"## `distgrad {verb}` {{ #{verb} }}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)
