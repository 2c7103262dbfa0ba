"""Says when the environment makes OpenBLAS compute with older kernels than this CPU has."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import lru_cache

from threadpoolctl import threadpool_info

from distgrad.ops.few_rows import AVX512

_VARIABLE = "OPENBLAS_CORETYPE"
# What OpenBLAS's AVX-512 kernels need.
_FLAGS = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}


@lru_cache(maxsize=1)  # once a process, however many worlds it makes
def warn() -> None:
    """Log a line if OPENBLAS_CORETYPE forces kernels that are older than the CPU."""
    said = slower_than_needed(os.environ, _cpu_flags(), _kernels())
    if said:
        logging.getLogger("distgrad").warning(said)


def slower_than_needed(environ: Mapping[str, str], flags: set[str], kernels: set[str]) -> str:
    """Return what is to be said of these variables, CPU flags and kernels in use; else ''."""
    forced = environ.get(_VARIABLE)
    if not forced or not flags >= _FLAGS or not kernels or kernels & AVX512:
        return ""
    return (
        f"distgrad: {_VARIABLE}={forced} in the environment makes NumPy compute with "
        f"{'/'.join(sorted(kernels))} kernels on a CPU with AVX-512, which has SkylakeX ones: "
        f"matrix products at 129 GF/s a core in place of 226 to 244 (float32, measured on a Zen "
        f"5). `unset {_VARIABLE}` lets OpenBLAS choose"
    )


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo") as info:
            line = next((x for x in info if x.startswith("flags")), "")
    except OSError:
        return set()  # not Linux: nothing is known
    return set(line.split())


def _kernels() -> set[str]:
    return {i["architecture"] for i in threadpool_info() if i.get("internal_api") == "openblas"}
