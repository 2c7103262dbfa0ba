"""What ``distgrad submit`` would hand over, without another process for it."""

from __future__ import annotations

import contextlib
import io

from distgrad import cli


def written(*words: object) -> str:
    """Return the job that ``distgrad submit --dry-run`` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert cli.main(["submit", "--dry-run", *map(str, words)]) == 0
    return printed.getvalue()
