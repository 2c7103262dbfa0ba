"""The table at the end of a training: names and values, as wide as the terminal."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_INDENT = 2


@dataclass(frozen=True)
class Row:
    """A name and what is said under it; a ``command`` stays one that can be pasted."""

    name: str
    value: str
    command: bool = False


def table_lines(title: str, rows: Sequence[Row], width: int | None) -> list[str]:
    """Return the lines of the table, none wider than ``width`` columns; None sets no limit."""
    names = max((len(row.name) for row in rows), default=0)
    lines = [title] if width is None else textwrap.wrap(title, width)
    for row in rows:
        first, rest = f"{'':{_INDENT}}{row.name:{names}}  ", " " * (_INDENT + names + 2)
        if width is None:
            lines += f"{row.name}: {row.value}".split("\n")
        elif row.command:
            lines += _command(row.value, first, rest, width)
        else:
            for text in row.value.split("\n"):
                lines += textwrap.wrap(
                    text,
                    max(width, len(rest) + 20),
                    initial_indent=first,
                    subsequent_indent=rest,
                    break_on_hyphens=False,
                    break_long_words=False,
                )
                first = rest
    return lines


def _command(command: str, first: str, rest: str, width: int) -> Iterator[str]:
    """Yield the command over several lines, as a shell takes it."""
    line = first
    words = [shlex.quote(word) for word in shlex.split(command)]
    for position, word in enumerate(words):
        last = position == len(words) - 1
        glue = "" if line.isspace() or line == first else " "
        if glue and len(line) + 1 + len(word) + (0 if last else 2) > width:
            yield f"{line} \\"
            line, glue = rest + "  ", ""
        line += glue + word
    yield line
