"""What this process prints reaches the console in some form: no run ends for want of a glyph."""

from __future__ import annotations

import io
import os
import re
import sys
import textwrap
from typing import TextIO

_LEFT_AS_IT_IS = re.compile(r"(\[rank \d+/\d+\] )?\s")


def replace_what_cannot_be_encoded() -> None:
    """Let stdout and stderr show ``?`` in place of what their encoding lacks, and not raise.

    With LANG=C or PYTHONIOENCODING=ascii ``print("3 × 4")`` is a UnicodeEncodeError, as the name
    of a folder that is no UTF-8 is everywhere. Streams that already say what to do are left alone.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue  # somebody else's: a notebook, a test's capture
        # Python's choice for LANG=C: it gives back a file name's bytes, and raises otherwise.
        escapes = stream.errors == "surrogateescape" and stream.encoding.lower() != "utf-8"
        if stream.errors == "strict" or escapes:
            stream.reconfigure(errors="replace")


def wrapped(text: str, columns: int | None) -> str:
    """Return a message in lines of so many columns, broken between words; None: as it is.

    Lines that begin with a blank, behind a rank's tag or not, are left: commands and code, to be
    copied.
    """
    if columns is None:
        return text
    lines = []
    for line in text.split("\n"):
        if len(line) <= columns or _LEFT_AS_IT_IS.match(line):
            lines.append(line)
        else:
            lines += textwrap.wrap(
                line,
                max(columns, 20),
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def columns_of(stream: TextIO | None) -> int | None:
    """Return the columns of the terminal that a stream is, less one; None if it is none."""
    try:
        if stream is None or not stream.isatty():
            return None
        return max(1, (os.get_terminal_size(stream.fileno()).columns or 80) - 1)
    except (AttributeError, OSError, ValueError):  # closed, or somebody's own
        return None
