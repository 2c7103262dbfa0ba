"""What this process prints reaches the console in some form: no run ends for want of a glyph."""

from __future__ import annotations

import io
import sys


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
