"""Memory that was freed, and that the C library keeps: given back to the system, where it can."""

from __future__ import annotations

import ctypes

_LEAST = 4 << 20  # bytes that are worth a look through the heap, of milliseconds


def give_back_freed(nbytes: int) -> None:
    """Give back free memory of the heap, of which there are ``nbytes`` or more now.

    Between arrays that stay, freed ones leave holes which glibc never gives back by itself. Another
    C library has no such call, and nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None and nbytes >= _LEAST:
        trim(ctypes.c_size_t(0))
