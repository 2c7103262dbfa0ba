"""Where checkpoints lie: the names of their folders, and who may delete which.

    step-000123            a complete checkpoint
    step-000123.old        the one before it at the same step, while it is being replaced
    .tmp-HOST-PID-…        being written
    .trash-HOST-PID-…      being deleted

A folder gets its name by one rename, so what bears a name without a dot is complete.
"""

import errno
import functools
import hashlib
import os
import re
import shutil
import socket
import time
import warnings
from contextlib import suppress
from pathlib import Path

from distgrad.errors import CheckpointError

OLD = ".old"
_COMPLETE = re.compile(r"step-([0-9]{6,})(\.old)?")
_PASSING = re.compile(r"\.(?:tmp|trash)-(.+)-([0-9]+)-step-[0-9]{6,}(?:\.old)?")
_ABANDONED_AFTER = 3600.0  # seconds without a change, for a writer on another host


def as_path(folder: str | os.PathLike[str]) -> Path:
    """Return ``folder`` as a path; raises CheckpointError for what cannot be the name of one."""
    try:
        is_name = b"\0" not in os.fsencode(folder)
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise CheckpointError(f"{folder!a} cannot be a folder's name: name another folder")
    return Path(folder)


def name_of(step: int) -> str:
    """Return the folder name of ``step``, e.g. ``step-000123``."""
    return f"step-{step:06d}"


def step_of(name: str) -> int | None:
    """Return the step in a checkpoint folder's name; None if it is no such name."""
    match = _COMPLETE.fullmatch(name)
    return int(match[1]) if match else None


def complete(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, path) of every checkpoint in ``folder``, newest first, replaced ones last."""
    found = []
    for path in folder.iterdir():
        match = _COMPLETE.fullmatch(path.name)
        if match and _may_be_folder(path):
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
        _remove(trash)
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
            with suppress(OSError):  # it costs room and nothing else; tried again at the next save
                _remove(path)


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


def _may_be_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return True  # whoever reads it says what is wrong


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()  # somebody's link to a checkpoint elsewhere: only the link is ours


def _is_abandoned(path: Path, host: str, pid: int) -> bool:
    if host == _host():
        # Our own number on a folder we have not begun yet: a namesake's, from before a restart.
        return pid == os.getpid() or not _is_alive(pid)
    try:
        inside = path.iterdir() if path.is_dir() else ()
        changed: float = max(entry.lstat().st_mtime for entry in (path, *inside))
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


@functools.cache
def _host() -> str:
    """Return a name for where a process number means a process: the host and its container."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            place = file.read() + os.readlink("/proc/self/ns/pid")
    except OSError:
        place = ""  # no such files here: the host's name has to do
    digest = hashlib.sha256(place.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', socket.gethostname())}.{digest}"
