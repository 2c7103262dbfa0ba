"""How kernels are compiled: single-threaded, deterministic, cached on the node. Imports numba.

A kernel may change the order of a sum when it is compiled (so that it can be vectorised), never
from call to call. NaN and infinity keep their meaning.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba

# Sums may be reordered and products fused, but nothing is assumed about NaN and infinity.
_FLAGS = {"reassoc", "nsz", "contract", "arcp"}
_mutex = threading.RLock()
_depth = 0


def cache_folder() -> Path | None:
    """Return the folder of compiled kernels: $DISTGRAD_CACHE or a private one in the node's temp.

    Node-local, because numba's cache is not safe on shared file systems. None (with a warning) if
    it cannot be written or belongs to somebody else, who could plant code in it.
    """
    root = os.environ.get("DISTGRAD_CACHE")
    base = Path(root) if root else Path(tempfile.gettempdir()) / f"distgrad-{os.getuid()}"
    folder = base / f"numba-{numba.__version__}-{sys.implementation.cache_tag}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in (base, folder):
            found = part.lstat()
            if not root and (found.st_uid != os.getuid() or found.st_mode & 0o022):
                raise PermissionError(f"{part} can be written by other users")
        (folder / "lock").touch()
    except OSError as error:
        warnings.warn(
            f"compiled kernels are not kept: {error}; set DISTGRAD_CACHE to a folder of your own "
            f"on this node",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return folder


_folder = cache_folder()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function of arrays and scalars of one dtype, once per dtype, cached on disk."""
    # numba reads the setting when a function is declared; the user's own kernels keep theirs.
    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(_folder or before)
    try:
        dispatcher: Any = numba.njit(
            cache=_folder is not None, fastmath=_FLAGS, error_model="numpy", nogil=True
        )(function)
    finally:
        config.CACHE_DIR = before
    compile_ = dispatcher.compile

    def compile_once(signature: Any) -> Any:
        with _one_rank_at_a_time():
            return compile_(signature)

    dispatcher.compile = compile_once
    return dispatcher


@contextmanager
def _one_rank_at_a_time() -> Iterator[None]:
    # The first rank of a node compiles; the others wait for it and find the result in the cache.
    global _depth  # noqa: PLW0603 (a kernel may call a kernel: the lock is taken once)
    with _mutex:
        if _depth or _folder is None:
            yield
            return
        with open(_folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _depth += 1
            try:
                yield
            finally:
                _depth -= 1
