"""NumPy's OpenBLAS, and the kernels it multiplies with: where its own choice is slow, others.

OpenBLAS looks at a CPU's instructions, not at how fast they are. A Zen 4 has AVX-512 and executes
it in halves: there the AVX2 kernels are the faster ones.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Any, NamedTuple

CORE_TYPE = "OPENBLAS_CORETYPE"
"""The variable that names OpenBLAS's kernels; whoever sets it has chosen."""
AVX512 = frozenset({"SkylakeX", "Cooperlake", "Sapphirerapids"})
"""What OpenBLAS calls its kernels for CPUs with AVX-512."""
AVX2 = "Haswell"
"""What it calls those for CPUs with AVX2."""
_NEEDED = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
_FIRST = 4096  # bytes of /proc/cpuinfo in which the first core's flags are


class Cpu(NamedTuple):
    """What is known of the CPU: nothing where the system is not Linux on x86-64."""

    vendor: str = ""
    family: int = 0
    flags: frozenset[str] = frozenset()

    @property
    def has_avx512(self) -> bool:
        """Whether OpenBLAS's AVX-512 kernels run on it."""
        return self.flags >= _NEEDED

    @property
    def halves_avx512(self) -> bool:
        """Whether it is a Zen 4 (of its family the Zen 3 has no AVX-512)."""
        return self.has_avx512 and (self.vendor, self.family) == ("AuthenticAMD", 25)


@cache
def cpu() -> Cpu:
    """Return what the system says of the first core."""
    try:
        with open("/proc/cpuinfo") as file:
            return cpu_of(file.read(_FIRST))  # all of it takes milliseconds on a large machine
    except OSError:
        return Cpu()


def cpu_of(text: str) -> Cpu:
    """Return what the text of /proc/cpuinfo says of the first core."""
    found = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", text.partition("\n\n")[0], re.MULTILINE))
    family = found.get("cpu family", "")
    flags = frozenset(found.get("flags", "").split())
    return Cpu(found.get("vendor_id", ""), int(family) if family.isdigit() else 0, flags)


def choose(environment: Mapping[str, str] = os.environ) -> bool:
    """Have products computed by AVX2 kernels on a Zen 4; whether they were exchanged.

    Measured with OpenBLAS 0.3.31 and 0.3.34, float32, one thread: 128 rows times 1024 x 1024 83 to
    103 GF/s, 1024 rows times 384 x 1152 101 to 106, 32 rows times 256 x 1024 60 to 88; float64 is
    alike, and of 64 rows and columns 80 becomes 66. Nothing is done where the environment names the
    kernels, and where the library has no way to exchange them: ``distgrad doctor`` says so.
    """
    if environment.get(CORE_TYPE) or not cpu().halves_avx512:
        return False
    library = _library()
    if library is None or _kernels_of(library) not in AVX512:
        return False
    try:
        forget, look = library.gotoblas_dynamic_quit, library.gotoblas_dynamic_init
    except AttributeError:  # built for one kind of CPU
        return False
    # It reads the variable when it looks; the children of this process choose for themselves.
    os.environ[CORE_TYPE] = AVX2
    try:
        forget()
        look()
    finally:
        del os.environ[CORE_TYPE]
    return _kernels_of(library) == AVX2


@cache
def file() -> str | None:
    """Return the file that holds the matrix product NumPy calls; None where nobody can say."""
    try:
        extension = importlib.import_module("numpy._core._multiarray_umath").__file__
        # Loaded already: this is the handle, and a symbol is looked up as NumPy's linker did.
        numpy = ctypes.CDLL(extension, os.RTLD_NOLOAD | os.RTLD_LAZY)
        where = ctypes.CDLL(None).dladdr
    except (ImportError, OSError, AttributeError):
        return None
    for name in ("scipy_cblas_sgemm64_", "scipy_cblas_sgemm", "cblas_sgemm64_", "cblas_sgemm"):
        found = _Place()
        if hasattr(numpy, name) and where(getattr(numpy, name), ctypes.byref(found)):
            return os.path.realpath(os.fsdecode(found.file))
    return None


class _Place(ctypes.Structure):
    """What dladdr(3) says of an address (Dl_info)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _library() -> ctypes.CDLL | None:
    path = file()
    try:
        return None if path is None else ctypes.CDLL(path, os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return None


@cache
def kernels() -> str:
    """Return what NumPy's OpenBLAS calls its kernels; "" if NumPy has another BLAS.

    Those that are there when it is first asked: ``choose`` has been called by then.
    """
    library = _library()
    return "" if library is None else _kernels_of(library)


def threads() -> int:
    """Return how many threads NumPy's OpenBLAS takes now; 0 if NumPy has another BLAS."""
    function = _count()
    return 0 if function is None else int(function())


@cache
def _count() -> Any:
    library = _library()
    return None if library is None else _function(library, "get_num_threads")


def _kernels_of(library: ctypes.CDLL) -> str:
    function = _function(library, "get_corename")
    if function is None:
        return ""
    function.restype = ctypes.c_char_p
    return str((function() or b"").decode())


def _function(library: ctypes.CDLL, name: str) -> Any:
    """Return OpenBLAS's function, by the names that builds give it; None of another library."""
    for prefix, suffix in product(("scipy_", ""), ("64_", "")):
        function = getattr(library, f"{prefix}openblas_{name}{suffix}", None)
        if function is not None:
            return function
    return None
