"""Where checkpoints lie: the names of their folders, and who may delete which.

    step-000123            a complete checkpoint
    step-000123.old        the one before it at the same step, while it is being replaced
    .tmp-HOST-PID-…        being written
    .trash-HOST-PID-…      being deleted

A folder gets its name by one rename, so what bears a name without a dot is complete.
"""

import errno
import os
import re
import shutil
import socket
import time
import warnings
from pathlib import Path

OLD = ".old"
_COMPLETE = re.compile(r"step-(\d{6,})(\.old)?")
_PASSING = re.compile(r"\.(?:tmp|trash)-(.+)-(\d+)-step-\d{6,}(?:\.old)?")
_ABANDONED_AFTER = 3600.0  # seconds without a change, for a writer on another host


def name_of(step: int) -> str:
    """Return the folder name of ``step``, e.g. ``step-000123``."""
    return f"step-{step:06d}"


def complete(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, path) of every checkpoint in ``folder``, newest first, replaced ones last."""
    found = []
    for path in folder.iterdir():
        match = _COMPLETE.fullmatch(path.name)
        if match and path.is_dir():
            found.append((int(match[1]), match[2] is None, path))
    return [(step, path) for step, _, path in sorted(found, reverse=True)]


def passing(kind: str, path: Path) -> Path:
    """Return the name under which this process writes (``tmp``) or deletes (``trash``) ``path``."""
    return path.with_name(f".{kind}-{_host()}-{os.getpid()}-{path.name}")


def discard(path: Path) -> None:
    """Delete one checkpoint; it loses its name first, so a half-deleted one is never read."""
    trash = passing("trash", path)
    try:
        os.rename(path, trash)
        shutil.rmtree(trash)
    except FileNotFoundError:
        return  # another job deleted it first: gone is gone
    except OSError as error:
        # The new checkpoint is safe; only room is lost. That is worth a word, not the run.
        warnings.warn(f"an old checkpoint could not be deleted: {path}: {error}", stacklevel=2)


def sweep(folder: Path) -> None:
    """Delete what killed writers left half-written or half-deleted in ``folder``."""
    for path in list(folder.iterdir()):
        match = _PASSING.fullmatch(path.name)
        if match and _is_abandoned(path, match[1], int(match[2])):
            shutil.rmtree(path, ignore_errors=True)  # tried again at the next save


def sync(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems sync folders by themselves and say so
            raise
    finally:
        os.close(descriptor)


def _is_abandoned(path: Path, host: str, pid: int) -> bool:
    if host == _host():
        # Our own number on a folder we have not begun yet: a namesake's, from before a restart.
        return pid == os.getpid() or not _is_alive(pid)
    try:
        changed = max(entry.stat().st_mtime for entry in (path, *path.iterdir()))
    except FileNotFoundError:
        return False  # its owner is at work on it
    return time.time() - changed > _ABANDONED_AFTER


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname())
