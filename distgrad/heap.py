"""Lets the C library keep what is freed in one step for the next.

By default glibc gives large arrays back to the system as soon as they are freed, and each one that
is made anew costs a page fault, with a page of zeros, every 4 KiB. A step makes the same arrays as
the one before: kept, they cost nothing.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

_WORTH_A_LOOK = 4 << 20  # bytes: going through the heap takes milliseconds
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST = 32 << 20  # what glibc takes for the second: larger arrays come from the system still
_NEVER = 2**31 - 1
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def keep(environment: Mapping[str, str] = os.environ) -> bool:
    """Keep freed memory of this process; whether it is kept.

    Not where the environment says how memory is kept (glibc's variables, or
    ``DISTGRAD_KEEP_MEMORY=0``), and where the C library has no such setting.
    """
    if environment.get("DISTGRAD_KEEP_MEMORY") == "0" or any(n in environment for n in _OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc: musl, macOS, Windows
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _NEVER))


def give_back_freed(nbytes: int) -> None:
    """Give back free memory of the heap, of which there are ``nbytes`` or more now.

    Between arrays that stay, freed ones leave holes which glibc never gives back by itself. Another
    C library has no such call, and nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None and nbytes >= _WORTH_A_LOOK:
        trim(ctypes.c_size_t(0))
