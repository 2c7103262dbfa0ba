"""Memory that the processes of one host share: a file in /dev/shm that has no name for long.

It knows nothing of ranks. The name goes as soon as all have the file open, so that nothing is left
behind however a process ends; what a killed one left before that is removed by the next.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import platform
import secrets
import time
from pathlib import Path

import numpy as np

from distgrad.heap import large_pages

FOLDER = Path("/dev/shm")
_PREFIX = "distgrad"
# Flags and data are plain stores and loads, which only these processors keep in order.
_ORDERED = ("x86_64", "AMD64")
_LARGE_PAGE = 2 << 20  # bytes, on the processors above
_MAP_FIXED = 0x10
_COLLAPSE = 25  # MADV_COLLAPSE, since Linux 6.1
_OLD = 60.0  # seconds, of which all have the file open after a few milliseconds


def place() -> str:
    """Return a name of the memory this process can share, equal where it is the same; else ""."""
    if platform.machine() not in _ORDERED:
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        device = FOLDER.stat().st_dev  # each container's mount has a number of its own
    except OSError:
        return ""
    if not os.access(FOLDER, os.W_OK | os.X_OK):
        return ""
    return f"{boot}/{device}/{os.getuid()}/{platform.node()}"


def new_name() -> str:
    """Return a name nobody else takes, which tells who took it."""
    return f"{_PREFIX}-{os.getuid()}-{os.getpid()}-{_started(os.getpid())}-{secrets.token_hex(6)}"


def create(name: str, nbytes: int) -> memoryview:
    """Create the file and map it. Errors: OSError, also where there is not as much memory."""
    _remove_leftovers()
    file = os.open(FOLDER / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Takes the memory now: a file that only grew would end the process when it is written to.
        os.posix_fallocate(file, 0, nbytes)
        return _in_large_pages(_mapped(file, nbytes))
    except OSError:
        os.unlink(FOLDER / name)
        raise
    finally:
        os.close(file)


def attach(name: str, nbytes: int) -> memoryview:
    """Map the file another process has created. Errors: OSError."""
    file = os.open(FOLDER / name, os.O_RDWR | os.O_CLOEXEC)
    try:
        return _mapped(file, nbytes)
    finally:
        os.close(file)


def alone(nbytes: int) -> memoryview:
    """Map memory that no other process has, in pages as that of several: parts may be given back.

    Errors: OSError.
    """
    return _in_large_pages(_aligned(nbytes))


def unlink(name: str) -> None:
    """Take the name away; who has the memory mapped keeps it."""
    os.unlink(FOLDER / name)


def unlink_mapped(prefix: str) -> None:
    """Take the names away from the files here that begin so and that this process has mapped."""
    with contextlib.suppress(OSError):  # no /proc: they keep their names
        for line in Path("/proc/self/maps").read_text().splitlines():
            path = Path(line[line.find("/") :])
            if path.parent == FOLDER and path.name.startswith(prefix):
                path.unlink(missing_ok=True)  # another rank was faster


def _mapped(file: int, nbytes: int) -> memoryview:
    """Map the first bytes of a file."""
    if nbytes < _LARGE_PAGE:
        return memoryview(mmap.mmap(file, nbytes))
    memory = _aligned(nbytes)
    mapping = ctypes.CDLL(None, use_errno=True).mmap
    mapping.restype = ctypes.c_void_p
    mapping.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    # In place of the other pages; they go together.
    start, access = _address(memory), mmap.PROT_READ | mmap.PROT_WRITE
    if mapping(start, nbytes, access, mmap.MAP_SHARED | _MAP_FIXED, file, 0) != start:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return memory


def _aligned(nbytes: int) -> memoryview:
    """Return zeros that begin where a large page can, if there are enough for one."""
    if nbytes < _LARGE_PAGE:
        return memoryview(mmap.mmap(-1, nbytes))
    memory = memoryview(mmap.mmap(-1, nbytes + _LARGE_PAGE))
    start = -_address(memory) % _LARGE_PAGE
    return memory[start : start + nbytes]


def _in_large_pages(memory: memoryview) -> memoryview:
    """Put memory of zeros into large pages. What is shared has small ones by itself."""
    if memory.nbytes >= _LARGE_PAGE and large_pages():
        # An older system refuses, or has none left: the pages stay as they are.
        start, size = ctypes.c_void_p(_address(memory)), ctypes.c_size_t(memory.nbytes)
        ctypes.CDLL(None).madvise(start, size, _COLLAPSE)
    return memory


def _address(memory: memoryview) -> int:
    start: int = np.frombuffer(memory, np.uint8).ctypes.data
    return start


def _remove_leftovers() -> None:
    """Remove files of this user's processes that ended between creating and unlinking."""
    for path in FOLDER.glob(f"{_PREFIX}-{os.getuid()}-*"):
        process, started = path.name.split("-")[2:4]
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            # An old one only: a container may see the files of processes it does not see.
            if time.time() - path.stat().st_mtime > _OLD and _started(int(process)) != started:
                path.unlink()


def _started(process: int) -> str:
    """Return when a process was started, in ticks since boot; "" if there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
