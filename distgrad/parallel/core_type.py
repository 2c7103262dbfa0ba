"""Says where NumPy's OpenBLAS computes with other kernels than the fastest ones of this CPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from threadpoolctl import threadpool_info

from distgrad import blas
from distgrad.blas import AVX2, AVX512, CORE_TYPE, Cpu


class Advice(NamedTuple):
    """What is wrong with the kernels, with both speeds, and what to type."""

    problem: str
    cure: str


@lru_cache(maxsize=1)  # once a process, however many worlds it makes
def warn() -> None:
    """Log a line if the kernels in use are slower than others that this CPU can run."""
    advice = advice_on(os.environ, blas.cpu(), kernels())
    if advice is not None:
        logging.getLogger("distgrad").warning(f"distgrad: {advice.problem}. `{advice.cure}`")


def advice_on(environ: Mapping[str, str], cpu: Cpu, used: set[str]) -> Advice | None:
    """Return what is to be said of these variables, this CPU and kernels in use; else None."""
    forced, names = environ.get(CORE_TYPE), "/".join(sorted(used))
    who = f"{CORE_TYPE}={forced} in the environment makes NumPy" if forced else "NumPy's OpenBLAS"
    if not used or not cpu.has_avx512:
        return None
    if cpu.halves_avx512:
        if not used <= AVX512:
            return None
        verb = "compute" if forced else "computes"
        return Advice(
            f"{who} {verb} with {names} kernels on a Zen 4, where {AVX2} ones are faster: matrix "
            f"products of 128 rows at 83 GF/s a core in place of 103 (float32, measured)",
            f"export {CORE_TYPE}={AVX2}",
        )
    if not forced or used & AVX512:
        return None
    return Advice(
        f"{who} compute with {names} kernels on a CPU with AVX-512, which has SkylakeX ones: "
        f"matrix products at 129 GF/s a core in place of 226 to 244 (float32, measured on a Zen 5)",
        f"unset {CORE_TYPE}",
    )


def kernels() -> set[str]:
    """Return what the OpenBLAS libraries of this process call their kernels."""
    return {i["architecture"] for i in threadpool_info() if i.get("internal_api") == "openblas"}
