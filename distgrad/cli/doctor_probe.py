"""What ``distgrad doctor`` tries in a process of its own: code of others, which may end it.

``python -m distgrad.cli.doctor_probe NAME`` prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from distgrad import kernels
from distgrad.kernels import onednn, onednn_convolution

Answer = dict[str, Any]


def mpi() -> Answer:
    """Load mpi4py and the MPI it wants, and start nothing."""
    try:
        from distgrad.comm.worlds import mpi as world  # noqa: PLC0415 (it may be broken)
    except (ImportError, RuntimeError, OSError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"library": world.library()}


def numba() -> Answer:
    """Run one kernel and say where the compiled ones are kept."""
    relu, kept_in = kernels.part("pointwise", "relu"), kernels.part("jit", "kept_in")
    tally, read = kernels.part("cache", "tally"), kernels.part("cache", "_sources")
    if relu is None or kept_in is None or tally is None or read is None:
        return {"status": kernels.status()}
    x = np.linspace(-1, 1, 1 << 16, dtype=np.float32)
    since = perf_counter()
    made = relu(x)
    seconds = perf_counter() - since
    right = made is not None and np.array_equal(made[0], np.maximum(x, 0))
    folder: Path | None = kept_in()
    answer: Answer = {"status": kernels.status(), "right": right, "seconds": seconds}
    answer |= {"compiled": tally(), "folder": None if folder is None else str(folder)}
    return answer if folder is None else answer | _kept(folder, read())


def _kept(folder: Path, sources: bytes) -> Answer:
    """Count the kernels of this version of distgrad and of others, and their bytes."""
    current = old = size = 0
    for path in folder.iterdir():
        if path.name == "lock" or path.name.startswith(".") or not path.is_file():
            continue
        size += path.stat().st_size
        with open(path, "rb") as file:
            is_ours = file.read(len(sources)) == sources
        current, old = current + is_ours, old + (not is_ours)
    return {"current": current, "old": old, "bytes": size}


def convolution() -> Answer:
    """Load oneDNN and compare a few of its convolutions with their definition."""
    library = onednn_convolution.loaded()
    return {"loaded": library is not None, "road": onednn.road()}


PROBES: dict[str, Callable[[], Answer]] = {"mpi": mpi, "numba": numba, "convolution": convolution}


def main(name: str) -> None:
    """Print what a probe says, and the warnings it met."""
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always")
        answer = PROBES[name]()
    said = [str(w.message) for w in met if "distgrad" in w.filename or "distgrad" in str(w.message)]
    print(json.dumps(answer | {"warnings": said}))


if __name__ == "__main__":
    main(sys.argv[1])
