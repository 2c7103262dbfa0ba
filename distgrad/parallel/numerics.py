"""What the bits of a computation depend on besides code, data and seed: libraries, CPU, threads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from distgrad import blas, kernels
from distgrad.errors import LaunchError

_ENVIRONMENT = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")


def set_threads(asked: int | None, default: int) -> None:
    """Set the BLAS threads of this process: as asked, else as the environment says, else default.

    Variables that ``distgrad run`` chose by itself do not count as the user's.
    """
    if asked is None and _chosen():
        return
    threadpool_limits(limits=default if asked is None else asked, user_api="blas")


def threads_asked_for(asked: int | None) -> int:
    """Return the BLAS threads that somebody wants, by argument or environment; 0 if nobody does.

    A BLAS that sees fewer cores takes fewer.
    """
    numbers = [int(value) for value in _chosen() if value.isdecimal()]
    return asked or (numbers[0] if numbers else 0)


def _chosen() -> list[str]:
    if "DISTGRAD_THREADS_AUTO" in os.environ:
        return []
    return [value for name in _ENVIRONMENT if (value := os.environ.get(name))]


def self_test() -> None:
    """Compare a small matrix product with exact integers: a kernel the CPU cannot run fails here.

    Errors: LaunchError naming the BLAS and its kernels.
    """
    a, product = _integers()
    for dtype in (np.float32, np.float64):
        # Small integers: every sum is exact in both types, so equality is the test.
        if not np.array_equal(a.astype(dtype) @ a.T.astype(dtype), product.astype(dtype)):
            raise LaunchError(
                f"the BLAS computes a wrong {np.dtype(dtype)} matrix product; unset "
                f"OPENBLAS_CORETYPE, or install another build of NumPy: {fingerprint()['BLAS']}"
            )


@cache
def _integers() -> tuple[Any, Any]:
    """Return a matrix and, by NumPy's own loops and no BLAS, its product with its transpose."""
    n = 67  # no multiple of any kernel's tile
    a = (np.arange(n * n) % 13 - 6).reshape(n, n)
    return a, a @ a.T


def fingerprint() -> dict[str, object]:
    """Return the facts that must be equal on all ranks for equal bits."""
    facts = ("internal_api", "version", "architecture", "num_threads")
    blas = [{k: i.get(k) for k in facts} for i in _numpys_own(_loaded())]
    return {"NumPy": np.__version__, "BLAS": blas, "fused kernels": kernels.status()}


def blas_threads() -> int:
    """Return how many threads NumPy's matrix products of this process take; 0 if nobody knows."""
    return threads_in({"BLAS": _numpys_own(_loaded())})


def threads_in(fingerprint: Mapping[str, Any]) -> int:
    """Return how many threads the matrix products of a fingerprint take; 0 if nobody knows."""
    return max([int(library.get("num_threads") or 0) for library in fingerprint["BLAS"]], default=0)


def _loaded() -> list[dict[str, Any]]:
    return [i for i in threadpool_info() if i.get("user_api") == "blas"]


def _numpys_own(loaded: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the libraries that NumPy's own products run in, in an order that means nothing.

    Other packages load a BLAS of their own, when they like; it changes no bit of ours.
    """
    path = blas.file()
    # Where the path says nothing (a BLAS under another library's name), all that there are count.
    own = [i for i in loaded if path and os.path.realpath(i["filepath"]) == path] or loaded
    return sorted(own, key=repr)


def compare(fingerprints: Sequence[Mapping[str, object]], rank: int) -> None:
    """Warn on rank 0, naming ranks and values, if the ranks' numerics differ."""
    first = fingerprints[0]
    for other, found in enumerate(fingerprints):
        for key, value in found.items():
            if value != first[key] and rank == 0:
                warnings.warn(
                    f"ranks 0 and {other} compute with different {key}: {first[key]} and {value}; "
                    f"results stay equal on all ranks of this job but may differ from a run on "
                    f"other nodes. Install the same versions and set OPENBLAS_CORETYPE alike",
                    RuntimeWarning,
                    stacklevel=2,
                )
                return
