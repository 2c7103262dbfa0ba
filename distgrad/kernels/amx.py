"""Whether matrix products use Intel's AMX: tiles of bfloat16 that a core multiplies. No numba.

The user says no with DISTGRAD_AMX=0.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

from distgrad import blas, switches

# What Linux on x86-64 calls the question whether this process may use tiles (arch_prctl(2)).
_ARCH_PRCTL, _ASK, _TILES = 158, 0x1023, 18


@cache
def multiplies() -> bool:
    """Whether large products of float32 on one thread are computed in tiles, by numba's code.

    Every product asks, so it is found out once.
    """
    # The user may have chosen other kernels, or have an MKL.
    return not off() and _allowed() and blas.kernels() in blas.AVX512


def off() -> bool:
    """Whether the user wants to do without."""
    return switches.off(os.environ, "DISTGRAD_AMX")


def _allowed() -> bool:
    """Whether the CPU has tiles of bfloat16, and the system lets this process use them."""
    return blas.cpu().flags >= {"amx_tile", "amx_bf16", "avx512f"} and _asked()


def _asked() -> bool:
    """Ask the system, for all threads and forks.

    It says no where a thread's stack for signals would be too small for tiles.
    """
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ASK, _TILES) == 0)
