"""Opening files that may be hostile: regular ones only, of a size known before a byte is read.

And writing so that whoever reads a path finds the old file or the new one, whole.

Errors are OSErrors with a sentence of their own; whoever asks turns them into its kind and cure.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(
    path: str | os.PathLike[str],
    mode: str = "rb",
    *,
    flags: int = 0,
    folder: int | None = None,
    links: bool = True,
) -> BinaryIO:
    """Open a regular file without ever waiting for a pipe, a device or a terminal.

    ``flags`` are added to os.open's; ``folder`` is a descriptor that ``path`` is relative to.
    Raises OSError for anything else than a regular file, for a path that no file can have and,
    unless ``links``, for a symbolic link.
    """
    writes = os.O_RDWR if "+" in mode else os.O_RDONLY
    flags |= writes | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | (0 if links else os.O_NOFOLLOW), 0o666, dir_fd=folder)
    except ValueError as error:  # a NUL, or characters that the file system's encoding lacks
        raise OSError(errno.EINVAL, f"no file can have this name: {error}") from None
    except OSError as error:
        if error.errno == errno.ELOOP and not links:
            raise OSError(errno.ELOOP, "it is a symbolic link") from None
        if error.errno == errno.ENXIO:  # a socket, or a device without a driver
            raise OSError(errno.EINVAL, "it is no regular file") from None
        raise
    try:
        found = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(found):
            kind = _KINDS.get(stat.S_IFMT(found), "something else")
            raise OSError(errno.EINVAL, f"it is {kind}, not a regular file")
        return cast(BinaryIO, os.fdopen(descriptor, mode))
    except BaseException:
        os.close(descriptor)
        raise


def size_of(file: BinaryIO) -> int:
    """Return the size in bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_all(file: BinaryIO, most: int) -> bytes:
    """Return an open file's bytes; raises OSError, before reading, if there are over ``most``."""
    size = size_of(file)
    if size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes; at most {most:,} are read")
    return file.read(size)


@contextmanager
def replacing(
    path: Path, part: str | None = None, *, durable: bool, mode: int | None = None
) -> Iterator[BinaryIO]:
    """Yield a new file beside ``path``, which takes its name where ``with`` ends well.

    Otherwise it is deleted, and what stood at ``path`` stays. ``part`` is its name until then, by
    default one that nobody else has. ``durable`` has the disk hold it before it gets its name.
    Permissions are ``mode``, by default those of the file that it replaces. Raises OSError, of a
    file named ``part`` as well.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp" if part is None else part)
    granted = 0o666 if mode is None else mode  # less the umask
    file = open(beside, "xb", opener=lambda name, flags: os.open(name, flags, granted))  # noqa: SIM115
    try:
        with file:
            if mode is None:
                with suppress(FileNotFoundError):
                    os.fchmod(file.fileno(), stat.S_IMODE(os.stat(path).st_mode))
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):  # what went wrong first is told
            beside.unlink()
        raise


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as messages show it: one that a terminal or a log could not take is quoted."""
    text = str(Path(path))
    return text if text.isprintable() else ascii(text)
