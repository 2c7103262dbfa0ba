"""How kernels are compiled: single-threaded, deterministic, kept on the node. Imports numba.

A kernel may change the order of a sum when it is compiled (so that it can be vectorised), unless
it is an exact one, and never from call to call. NaN and infinity keep their meaning.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numba

from distgrad.kernels.cache import KernelCache, Store, Turn, cache_folder
from distgrad.kernels.compiler import KernelCompiler, parts

R = TypeVar("R")

# Sums may be reordered and products fused, but nothing is assumed about NaN and infinity.
_FLAGS = {"reassoc", "nsz", "contract", "arcp"}
_mutex = threading.RLock()
_depth = 0

_folder = cache_folder()
_store = Store(_folder) if _folder else None
_turn = Turn(_folder) if _folder else None


def kept_in() -> Path | None:
    """Return the folder of compiled kernels; None where none can be kept."""
    return _folder


# numba's wrappers for C are a third of the time to compile, and nobody calls them.
exact: dict[str, Any] = {
    "error_model": "numpy",
    "nogil": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": KernelCompiler,
}
"""How to compile what rounds every operation by itself, as NumPy does."""


def kernel(function: Callable[..., R]) -> Callable[..., R]:
    """Compile a function of arrays and scalars of one dtype, once per dtype, kept on disk.

    It is part of each kernel that calls it: called, it would be this code in the process that
    compiles both, and the caller's copy, whose sums may have another order, where it is loaded.
    """
    return _kept(function, numba.njit(fastmath=_FLAGS, forceinline=True, **exact)(function))


def exact_kernel(function: Callable[..., R]) -> Callable[..., R]:
    """Compile a function as ``kernel`` does, but round every operation by itself.

    The order of its sums is as written, so a caller's copy of it has its bits.
    """
    return _kept(function, numba.njit(**exact)(function))


def _kept(function: Callable[..., R], dispatcher: Any) -> Callable[..., R]:
    if _store is not None:
        dispatcher._cache = KernelCache(function, _store)
    compile_ = dispatcher.compile

    def compile_once(signature: Any) -> Any:
        with _one_rank_at_a_time():
            return compile_(signature)

    dispatcher.compile = compile_once
    compiled: Callable[..., R] = dispatcher
    return compiled


def inlined(function: Callable[..., R]) -> Callable[..., R]:
    """Make a function of scalars part of the kernels that call it: a loop over calls is slow.

    Inside, nothing is reordered: x (n / (n + 2)) must not become x n / (n + 2), which overflows.
    """
    how = {"fastmath": {"contract"}, "error_model": "numpy", "forceinline": True, **parts}
    made: Callable[..., R] = numba.njit(**how)(function)
    return made


def part(function: Callable[..., R]) -> Callable[..., R]:
    """Compile a function for the kernels that call it: not to be called itself, it is ready sooner.

    Every operation is rounded by itself, as an ``exact_kernel``'s is, in exact kernels.
    """
    # Inlining is said here, else it is as in the caller.
    how = {**exact, **parts, "forceinline": False}
    made: Callable[..., R] = numba.njit(**how)(function)
    return made


@contextmanager
def _one_rank_at_a_time() -> Iterator[None]:
    # The first rank of a node compiles; the others wait for it and find the result in the cache.
    global _depth  # noqa: PLW0603 (a kernel may call a kernel: the lock is taken once)
    with _mutex:
        if _depth:
            yield
            return
        with nullcontext() if _turn is None else _turn.taken(), _no_collection():
            _depth += 1
            try:
                yield
            finally:
                _depth -= 1


@contextmanager
def _no_collection() -> Iterator[None]:
    # numba makes objects by the hundred thousand, and looking for cycles among them is a twelfth
    # of the time that a kernel takes.
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
