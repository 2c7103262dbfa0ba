"""How ``distgrad doctor`` shows what it found: lines for people, JSON for bug reports."""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from distgrad import __version__
from distgrad.cli import doctor_machine
from distgrad.cli.doctor_finding import NOTE, OK, PROBLEM, STATES, Finding, ok
from distgrad.cli.doctor_ranks import Rank
from distgrad.comm import launchers
from distgrad.comm.stacks import spelled

FORMAT = 1
ALL = "all ranks: "
"""Begins what every rank has found."""
_STATE, _CHECK = 9, 15  # widths of the columns
_NARROW = 60  # columns of a terminal, below which its lines are left to it


def line_of(finding: Finding) -> str:
    """Return a finding as it is shown: what it is, and below it what to type."""
    text = finding.text + (f" ({finding.figures})" if finding.figures else "")
    head, indent = f"{finding.state:<{_STATE}}{finding.check:<{_CHECK}}", " " * (_STATE + _CHECK)
    width = _terminal_width()
    if width >= _NARROW:
        room = width - len(indent)
        lines = textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False)
        text = f"\n{indent}".join(lines)
    cure = f"\n{indent}cure: {finding.cure}" if finding.cure else ""
    return f"{head}{text}{cure}"


def _terminal_width() -> int:
    """Return the columns of the terminal that will show this, 0 where that is not known."""
    # A launcher gives its ranks a terminal of its own, whose width means nothing.
    if not sys.stdout.isatty() or launchers.started(os.environ) is not None:
        return 0
    return shutil.get_terminal_size().columns


def count_of(findings: Iterable[Finding]) -> dict[str, int]:
    """Return how many findings there are of each state."""
    states = [finding.state for finding in findings]
    return {state: states.count(state) for state in STATES}


def last_line(findings: Iterable[Finding]) -> str:
    """Return the sum of it."""
    count = count_of(findings)
    if not count[PROBLEM] and not count[NOTE]:
        return "nothing is wrong"
    said = (_plural(count[PROBLEM], "problem"), _plural(count[NOTE], "note"))
    return ", ".join(filter(None, said)) + ("" if count[PROBLEM] else ": nothing is wrong")


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count > 1 else ''}" if count else ""


def of_ranks(ranks: Sequence[Rank], here: Iterable[Finding]) -> list[Finding]:
    """Return what ranks have found that is not found ``here``, or not by all of them."""
    known = {(f.check, f.text) for f in here}
    holders: dict[Finding, list[int]] = {}
    looked: dict[str, set[int]] = {}
    for number, rank in enumerate(ranks):
        for fields in rank.findings:
            finding = replace(Finding(**fields), figures="")
            holders.setdefault(finding, []).append(number)
            looked.setdefault(finding.check, set()).add(number)
    told = []
    for finding, held in holders.items():
        by_all = looked[finding.check] == set(held)
        if (finding.check, finding.text) in known or (by_all and finding.state == OK):
            continue
        who = ALL if by_all else f"{_named(held, ranks)}: "
        told.append(replace(finding, text=who + finding.text))
    return told or [replace(ok("each rank finds on its own what was found above"), check="ranks")]


def _named(held: Sequence[int], ranks: Sequence[Rank]) -> str:
    hosts = [*dict.fromkeys(ranks[number].host for number in held)]
    return f"{spelled(held)} on {', '.join(hosts[:4])}{', …' if len(hosts) > 4 else ''}"


# -- JSON, which may be read by anybody -------------------------------------------------------


def as_json(findings: Sequence[Finding], hosts: Sequence[str] = ()) -> dict[str, Any]:
    """Return everything as JSON carries it, without users' and hosts' names and home folders."""
    report = {
        "format": FORMAT,
        "distgrad": __version__,
        "count": count_of(findings),
        "versions": doctor_machine.versions(),
        "variables": doctor_machine.variables(os.environ),
        "findings": [asdict(finding) for finding in findings],
    }
    words = {host: f"host{i}" for i, host in enumerate(dict.fromkeys(hosts))}
    cleaned: dict[str, Any] = _clean(report, homes(), words | dict.fromkeys(users(), "USER"))
    return cleaned


def cleaned(finding: Finding) -> Finding:
    """Return a finding without this user's name and home folder, which others cannot know."""
    return Finding(**_clean(asdict(finding), homes(), dict.fromkeys(users(), "USER")))


def users() -> list[str]:
    """Return the names of this user but "root", which is everybody's."""
    found = {os.path.basename(home) for home in homes()}
    with suppress(OSError, KeyError):  # a number without a name
        found.add(getpass.getuser())
    with suppress(KeyError):
        found.add(pwd.getpwuid(os.getuid()).pw_name)
    return sorted(found - {"root", ""})


def homes() -> list[str]:
    """Return this user's home folders, longest first."""
    found = {os.path.expanduser("~"), os.environ.get("HOME", "")}
    with suppress(KeyError):
        found.add(pwd.getpwuid(os.getuid()).pw_dir)
    found |= {os.path.realpath(home) for home in found if home}
    return sorted((home for home in found if len(home) > 1), key=len, reverse=True)


def _clean(value: Any, folders: Sequence[str], words: Mapping[str, str]) -> Any:
    """Return JSON with folders and words replaced in all its texts; keys are our own."""
    if isinstance(value, dict):
        return {key: _clean(each, folders, words) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each, folders, words) for each in value]
    if not isinstance(value, str):
        return value
    for folder in folders:
        value = re.sub(rf"{re.escape(folder)}(?![\w.-])", "~", value)
    for word, shown in words.items():
        value = re.sub(rf"(?<![\w]){re.escape(word)}(?![\w])", shown, value)
    return value
