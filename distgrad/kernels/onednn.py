"""oneDNN through ctypes: the library found and loaded, its primitives, and who says what is used.

It comes with the optional extra ``onednn``. On the calling thread alone.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from distgrad import blas, switches
from distgrad.autograd.types import Array

WHEEL = "onednn-cpu-gomp"
_OLDEST = (3, 0)

# What dnnl_types.h calls them.
_CPU, _ANY, USERS_SCRATCHPAD, _IN_ORDER = 1, 1, 1, 1
BFLOAT16, F32 = 2, 3
SRC, DST, WEIGHTS, BIAS, _SCRATCHPAD = 1, 17, 33, 41, 80
DIFF_SRC, DIFF_DST, DIFF_WEIGHTS, DIFF_BIAS = 129, 145, 161, 169
_ASK_IMPLEMENTATION, ASK_WEIGHTS, ASK_DIFF_WEIGHTS, _ASK_SCRATCHPAD = 8, 131, 132, 136
INVALID, UNIMPLEMENTED = 2, 3

Pointer = ctypes.c_void_p


class LibraryError(RuntimeError):
    """The library said no."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"dnnl_{name} returned status {status}")
        self.status = status


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int))


class _Argument(ctypes.Structure):
    _fields_ = (("index", ctypes.c_int), ("memory", Pointer))


class Library:
    """The shared library with an engine; every call raises if it fails.

    Errors: OSError if it cannot be loaded, AttributeError if it lacks a function.
    """

    def __init__(self, path: str) -> None:
        self._lib = lib = ctypes.CDLL(path)
        lib.dnnl_version.restype = ctypes.POINTER(_Version)
        version = lib.dnnl_version().contents
        if (version.major, version.minor) < _OLDEST:
            found, least = f"{version.major}.{version.minor}", ".".join(map(str, _OLDEST))
            raise OSError(f"{path} is oneDNN {found}; {least} and newer are known here")
        lib.dnnl_primitive_desc_query_md.restype = Pointer
        lib.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        lib.dnnl_memory_set_data_handle.argtypes = (Pointer, Pointer)
        lib.dnnl_primitive_execute.argtypes = (Pointer, Pointer, ctypes.c_int, Pointer)
        self.set_handle, self._execute = lib.dnnl_memory_set_data_handle, lib.dnnl_primitive_execute
        self._threads, self._set_threads = lib.omp_get_max_threads, lib.omp_set_num_threads
        self.engine = self.made("engine_create", _CPU, ctypes.c_size_t(0))
        self.attributes = self.made("primitive_attr_create")
        # Its own would be a thread's: a primitive could not be made in one and run in another.
        self.call("primitive_attr_set_scratchpad_mode", self.attributes, USERS_SCRATCHPAD)

    def call(self, name: str, *arguments: Any) -> None:
        """Call dnnl_``name``. Errors: LibraryError."""
        if status := getattr(self._lib, f"dnnl_{name}")(*arguments):
            raise LibraryError(name, status)

    def made(self, name: str, *arguments: Any) -> Pointer:
        """Return what dnnl_``name`` makes, through its first argument."""
        made = Pointer()
        self.call(name, ctypes.byref(made), *arguments)
        return made

    def free_with(self, owner: object, kind: str, *made: Pointer) -> None:
        """Give back what was made when ``owner`` is gone."""
        destroy = getattr(self._lib, f"dnnl_{kind}_destroy")
        # At the end of the process nothing needs to be given back, and the library may be gone.
        weakref.finalize(owner, lambda: [destroy(m) for m in made]).atexit = False

    def layout(
        self, shape: Sequence[int], strides: Sequence[int] | None, dtype: int = F32
    ) -> Pointer:
        """Return the description of an array; without ``strides`` (elements), as it likes best."""
        axes, dims = len(shape), longs(shape)
        if strides is None:
            return self.made("memory_desc_create_with_tag", axes, dims, dtype, _ANY)
        return self.made("memory_desc_create_with_strides", axes, dims, dtype, longs(strides))

    def address(self, name: str) -> int:
        """Return where in memory a function of the library is. Errors: AttributeError."""
        return ctypes.cast(getattr(self._lib, name), Pointer).value or 0

    def asked(self, description: Pointer, what: int) -> Pointer:
        """Return the layout that a primitive has chosen; it lives as long as its description."""
        return Pointer(self._lib.dnnl_primitive_desc_query_md(description, what, 0))

    def bytes_of(self, layout: Pointer) -> int:
        """Return how much memory an array of this layout takes."""
        return int(self._lib.dnnl_memory_desc_get_size(layout))

    def implementation(self, description: Pointer) -> str:
        """Return which of its kernels the library has chosen."""
        name = ctypes.c_char_p()
        self.call("primitive_desc_query", description, _ASK_IMPLEMENTATION, 0, ctypes.byref(name))
        return (name.value or b"").decode()

    def run(self, primitive: Pointer, stream: Pointer, count: int, arguments: Any) -> None:
        """Run a primitive on the calling thread. Errors: LibraryError."""
        if self._threads() == 1:
            status = self._execute(primitive, stream, count, arguments)
        else:
            with self.alone():
                status = self._execute(primitive, stream, count, arguments)
        if status:
            raise LibraryError("primitive_execute", status)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the library to the calling thread, and leave OpenMP's setting as it was."""
        before = self._threads()
        if before == 1:
            yield
            return
        self._set_threads(1)
        try:
            yield
        finally:
            self._set_threads(before)


class Primitive:
    """One of the library's primitives, ready to run on arrays; for one thread."""

    def __init__(
        self, library: Library, description: Pointer, layouts: Sequence[tuple[int, Pointer]]
    ) -> None:
        self._library = library
        with library.alone():
            self._primitive = library.made("primitive_create", description)
            self._stream = library.made("stream_create", library.engine, _IN_ORDER)
        library.free_with(self, "primitive", self._primitive)
        library.free_with(self, "stream", self._stream)
        scratchpad = library.asked(description, _ASK_SCRATCHPAD)
        self._scratch = library.bytes_of(scratchpad)
        if self._scratch:
            layouts = [*layouts, (_SCRATCHPAD, scratchpad)]
        made = [library.made("memory_create", m, library.engine, None) for _, m in layouts]
        library.free_with(self, "memory", *made)
        self._memories = [m.value for m in made]
        self._addresses = [0] * len(made)
        pairs = zip(layouts, made, strict=True)
        self._count = len(made)
        self._arguments = (_Argument * len(made))(*[_Argument(i, m) for (i, _), m in pairs])

    def __call__(self, *arrays: Array | int) -> None:
        """Run on ``arrays``, in the order of the layouts, or at addresses. Errors: LibraryError."""
        library = self._library
        if self._scratch:
            arrays = (*arrays, memory("scratchpad", self._scratch))
        addresses = [a if type(a) is int else _address_of(a) for a in arrays]
        if addresses != self._addresses:
            parts = zip(self._memories, addresses, self._addresses, strict=True)
            for handle, address, before in parts:
                if address != before:
                    library.set_handle(handle, address)
            self._addresses = addresses
        library.run(self._primitive, self._stream, self._count, self._arguments)


def _address_of(a: Any) -> int:
    try:
        return _addressof(_seen(a))  # a quarter of the other way's price
    except (TypeError, ValueError):  # what is read alone, or lies with gaps
        address: int = a.__array_interface__["data"][0]
        return address


_addressof, _seen = ctypes.addressof, ctypes.c_char.from_buffer


class _OfThread(threading.local):
    """What a thread has for itself: nothing here may be used by two at once."""

    def __init__(self) -> None:
        self.known: OrderedDict[Any, Any] = OrderedDict()
        self.memory: dict[str, tuple[Array, int]] = {}


MINE = _OfThread()
_NOTHING = np.empty(0, np.uint8), 0
_MOST = 256
"""What a thread keeps: primitives of so many shapes and settings."""


def kept(key: Any, make: Callable[[], Any]) -> Any:
    """Return what this thread has made for ``key``, made now if it has not."""
    known = MINE.known
    if key in known:
        known.move_to_end(key)
        return known[key]
    found = known[key] = make()
    if len(known) > _MOST:
        known.popitem(last=False)
    return found


def conversion(library: Library, owner: object, source: Pointer, target: Pointer) -> Primitive:
    """Return what writes an array of one layout and dtype in another; ``owner`` keeps it."""
    made = library.made(
        "reorder_primitive_desc_create",
        *(source, library.engine, target, library.engine, library.attributes),
    )
    library.free_with(owner, "primitive_desc", made)
    return Primitive(library, made, [(SRC, source), (DST, target)])


def memory(name: str, size: int) -> int:
    """Return where so many bytes are that the next call uses again: the start of a cache line."""
    raw, address = MINE.memory.get(name, _NOTHING)
    if raw.size < size + 63:
        raw = np.empty(size + 63, np.uint8)
        start = raw.__array_interface__["data"][0]
        address = start + -start % 64
        MINE.memory[name] = raw, address
    return address


@cache
def installed() -> tuple[str, str]:
    """Return the library's file and its version; "" where there is none."""
    try:
        wheel = importlib.metadata.distribution(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        return "", ""
    files = [f for f in wheel.files or () if f.name.startswith("libdnnl.so")]
    return (str(files[0].locate()) if files else "libdnnl.so"), wheel.version


REFUSED: list[str] = []
"""Why the library that is installed is not used, once that is known."""
WRONG: list[str] = []
"""Why its products are not, once that is known."""
UNTILED: list[str] = []
"""Why those in bfloat16 are not."""
_THREADS = 8
"""Of NumPy's BLAS, at most, that one thread with tiles keeps up with."""


def road() -> str:
    """Say what convolves, without loading it: the same on all ranks whose numerics are equal."""
    _, version = installed()
    if off():
        return "im2col and BLAS (DISTGRAD_ONEDNN=0)"
    if not version:
        return "im2col and BLAS (oneDNN is not installed; pip install 'distgrad[onednn]')"
    if REFUSED:
        return f"im2col and BLAS ({REFUSED[0]})"
    limit, mode = _limit(), rounds()
    kept = f" kept to {limit}" if limit else ""
    rounded = f" in mode {mode}" if mode else ""
    return f"oneDNN {version}{kept}{rounded}"


def rounds() -> str:
    """Return the mode in which the user lets the library round float32, "" if in none."""
    mode = _set("DEFAULT_FPMATH_MODE")
    return "" if mode.upper() == "STRICT" else mode


def multiplies() -> bool:
    """Whether large products of float32 on one thread are the library's, too; without loading it.

    They are on Intel's CPUs with AVX-512, see onednn_products.py.
    """
    return bool(installed()[1]) and not REFUSED and not WRONG and _suits()


def tiles() -> bool:
    """Whether Muon's products are the library's, in bfloat16; without loading it.

    They are on CPUs that multiply those in tiles, see onednn_bfloat16.py: on one thread as fast as
    NumPy's in float32 on eight.
    """
    usable = bool(installed()[1]) and not off() and not REFUSED and not UNTILED
    has = usable and not _limit() and blas.cpu().flags >= {"amx_tile", "amx_bf16"}
    return has and blas.threads() <= _THREADS


@cache
def _suits() -> bool:
    # Every product asks: the variables are read once.
    cpu = blas.cpu()
    return (
        not off()
        and cpu.vendor == "GenuineIntel"
        and cpu.has_avx512
        and not _limit()
        # The user may have chosen other kernels, or have an MKL.
        and blas.kernels() in blas.AVX512
    )


def _limit() -> str:
    """Return the instructions that the user keeps the library to; "" if it may use all."""
    return _set("MAX_CPU_ISA")


def _set(name: str) -> str:
    """Return what one of the library's own variables says, by its new name or its old one."""
    return os.environ.get(f"ONEDNN_{name}") or os.environ.get(f"DNNL_{name}") or ""


def off() -> bool:
    """Whether the user wants to do without."""
    return switches.off(os.environ, "DISTGRAD_ONEDNN")


def longs(numbers: Sequence[int]) -> Any:
    """Return C's array of 64-bit integers."""
    return (ctypes.c_int64 * len(numbers))(*numbers)


def strides(shape: Sequence[int]) -> list[int]:
    """Return the strides (elements) of a dense array."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def strides_last(shape: Sequence[int]) -> list[int]:
    """Return those of an array (n, c, …) whose channels lie last."""
    n, *lengths, c = strides([shape[0], *shape[2:], shape[1]])
    return [n, c, *lengths]
