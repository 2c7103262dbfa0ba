"""Lets the C library keep what is freed in one step for the next, in large pages.

By default glibc gives large arrays back to the system as soon as they are freed, and each one that
is made anew costs a page fault, with a page of zeros, every 4 KiB. A step makes the same arrays as
the one before: kept, they cost nothing. In pages of 2 MiB the processor looks up five hundred times
fewer addresses; the system gives them to who asks for them before the memory is written to, so
a stretch of the heap is reserved and asked for at once. What is not used of it takes no memory.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
from collections.abc import Mapping
from pathlib import Path

from distgrad.switches import off

_WORTH_A_LOOK = 4 << 20  # bytes: going through the heap takes milliseconds
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # malloc.h
_LARGEST = 32 << 20  # what glibc takes for the second: larger arrays come from the system still
_NEVER = -1
_MAPPINGS = 65_536  # glibc's own _MMAP_MAX
_RESERVED = 4 << 30  # bytes of addresses
_FEW = 256 << 20  # bytes that are not worth it
_OWN = (
    *("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_"),
    "GLIBC_TUNABLES",
)


def keep(environment: Mapping[str, str] = os.environ) -> bool:
    """Keep freed memory of this process; whether it is kept.

    Not where the environment says how memory is kept (glibc's variables, or
    ``DISTGRAD_KEEP_MEMORY=0``), and where the C library has no such setting.
    """
    if off(environment, "DISTGRAD_KEEP_MEMORY") or any(n in environment for n in _OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc: musl, macOS, Windows
        return False
    kept = bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _NEVER))
    if kept and large_pages(environment):
        _heap.reserve()
    return kept


def large_pages(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether to ask for large pages: not with ``NUMPY_MADVISE_HUGEPAGE=0``, as NumPy has it."""
    return not off(environment, "NUMPY_MADVISE_HUGEPAGE") and hasattr(mmap, "MADV_HUGEPAGE")


def give_back_freed(nbytes: int) -> None:
    """Give back free memory of the heap, of which there are ``nbytes`` or more now.

    Between arrays that stay, freed ones leave holes which glibc never gives back by itself. Another
    C library has no such call, and nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None and nbytes >= _WORTH_A_LOOK:
        trim(ctypes.c_size_t(0))
        _heap.reserve_again()


class _Heap:
    """The heap of the main thread."""

    def __init__(self) -> None:
        self._size = 0  # bytes to reserve; 0: nothing is

    def reserve(self) -> None:
        """Reserve addresses for it, and ask for large pages there.

        Not where addresses are counted: there are limits, or the system promises no more memory
        than it has.
        """
        size = min(_RESERVED, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
        if size >= _FEW and not _counted():
            self._size = size
            self.reserve_again()

    def reserve_again(self) -> None:
        """Do so where the heap ends now: what followed it may have been given back."""
        if not self._size:
            return
        c = ctypes.CDLL(None)
        c.malloc.restype = ctypes.c_void_p
        c.mallopt(_MMAP_MAX, 0)  # so that the heap grows for an array as large as this
        array = c.malloc(ctypes.c_size_t(self._size))
        c.mallopt(_MMAP_MAX, _MAPPINGS)
        if array is not None:
            skip = -array % mmap.PAGESIZE
            length = ctypes.c_size_t(self._size - skip)
            c.madvise(ctypes.c_void_p(array + skip), length, mmap.MADV_HUGEPAGE)
        c.free(ctypes.c_void_p(array))


_heap = _Heap()


def _counted() -> bool:
    """Whether addresses count that are not used."""
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits):
        return True
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
    except OSError:
        return False
