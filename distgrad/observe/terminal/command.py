"""The command that started this process, as somebody typed it, to be typed again."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from distgrad.comm import launchers
from distgrad.observe.terminal.launcher import typed_command

VARIABLE = "DISTGRAD_COMMAND"
"""In which ``distgrad run`` and ``distgrad debug`` tell how they were called."""

_NAME, _RESUME = "distgrad", "--resume"


def typed(words: Sequence[str]) -> str:
    """Return Python's command line (``sys.orig_argv``) as typed: ``distgrad`` without Python."""
    words = [*words]
    if len(words) > 1 and Path(words[1]).name == _NAME:
        found = shutil.which(_NAME)
        on_path = found is not None and Path(found).samefile(words[1])
        words[:2] = [_NAME if on_path else words[1]]
    return shlex.join(words)


def distgrad_command(environ: Mapping[str, str] = os.environ) -> str:
    """Return how ``distgrad`` is called in the shell that this training was started from."""
    first = shlex.split(environ.get(VARIABLE, ""))[:1]
    if first and Path(first[0]).name == _NAME:
        return shlex.quote(first[0])
    return _NAME if shutil.which(_NAME) else shlex.join([sys.executable, "-m", _NAME])


def resuming(environ: Mapping[str, str] = os.environ) -> str:
    """Return the command that resumes this training; "" if that cannot be told.

    The script must have an option ``--resume``: its text mentions it.
    """
    command = environ.get(VARIABLE)
    if command is None:
        is_rank = launchers.started(environ) is not None
        command = shlex.join(typed_command(environ)) if is_rank else typed(sys.orig_argv)
    if not command:
        return ""  # the launcher, which knows what was typed, is out of sight
    if _RESUME in sys.argv:
        return command
    return f"{command} {_RESUME}" if _has_resume() else ""


def _has_resume() -> bool:
    # Under `distgrad debug` __main__ is distgrad's; after a chdir the script's name leads nowhere.
    known = (sys.argv[0], getattr(sys.modules.get("__main__"), "__file__", None))
    return any(path and _mentions_resume(Path(path)) for path in known)


def _mentions_resume(path: Path) -> bool:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return False
    return f'"{_RESUME}"' in text or f"'{_RESUME}'" in text
