"""``distgrad doctor`` on what computes: BLAS, the fused kernels and their cache, oneDNN."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from distgrad import blas, kernels
from distgrad.cli.bench_report import size_name
from distgrad.cli.doctor_files import NETWORK, kind_of
from distgrad.cli.doctor_finding import Finding, note, ok, one_line, problem, tried
from distgrad.errors import LaunchError
from distgrad.files import shown
from distgrad.kernels import amx, onednn
from distgrad.observe.durations import spell_seconds
from distgrad.parallel import core_type, numerics
from distgrad.switches import off

_WIDTH = 384  # of the product that is timed: 2 to 10 ms
_NUMBA = "pip install 'distgrad[fast]'"
_NUMBA_ANEW = "pip install --force-reinstall numba llvmlite"
_ONEDNN = "pip install 'distgrad[onednn]'"


def look_at_blas() -> Iterator[Finding]:
    """Say which BLAS multiplies NumPy's matrices, with which kernels, and whether it is right."""
    libraries = numerics.fingerprint()["BLAS"]
    assert isinstance(libraries, list)
    if not libraries:
        text = "no BLAS is known to multiply NumPy's matrices: products may be very slow"
        yield note(text, "pip install --force-reinstall numpy", _speed())
    for library in libraries:
        name, kernel = library["internal_api"], library["architecture"]
        named = f" with {kernel} kernels" if kernel else ""
        if kernel == blas.AVX2 and blas.cpu().halves_avx512:
            named += ", the fastest ones of a Zen 4"
        threads = library["num_threads"]
        yield ok(f"{name} {library['version']}{named}, {threads} thread(s) here", _speed())
    for who in kernels.products_by()[:1]:
        yield ok(f"large products of float32 on one thread are computed {who}")
    if amx.off():
        yield note("no products are computed in tiles (AMX)", "unset DISTGRAD_AMX")
    try:
        numerics.self_test()
    except LaunchError as error:
        yield problem(str(error), "pip install --force-reinstall numpy")
    advice = core_type.advice_on(os.environ, blas.cpu(), core_type.kernels())
    if advice is not None:
        yield problem(*advice)


def _speed() -> str:
    """Return the speed of a matrix product."""
    a = np.full((_WIDTH, _WIDTH), 1e-3, np.float32)
    out = np.empty_like(a)
    seconds = []
    for _ in range(6):
        since = perf_counter()
        np.matmul(a, a, out=out)
        seconds.append(perf_counter() - since)
    return f"{2 * _WIDTH**3 / min(seconds) / 1e9:.0f} GF/s in float32"


# -- fused kernels ----------------------------------------------------------------------------


def look_at_kernels() -> Iterator[Finding]:
    """Say whether fused kernels run, and where compiled ones are kept."""
    if off(os.environ, "DISTGRAD_FUSED"):
        text = "fused kernels are off (DISTGRAD_FUSED=0): the NumPy reference of every op runs"
        yield note(text, "unset DISTGRAD_FUSED")
        return
    found = tried("numba")
    if "fault" in found:
        yield problem(f"numba cannot be used: {found['fault']}", _NUMBA_ANEW)
        return
    status = str(found["status"]).partition("; convolution")[0]
    if "right" not in found:
        is_absent = "not installed" in status or "No module named 'numba'" in status
        state, cure = (note, _NUMBA) if is_absent else (problem, _NUMBA_ANEW)
        yield state(f"fused kernels: {one_line(status)}", cure)
    elif not found["right"]:
        text = f"{status}: a compiled kernel computes wrong numbers"
        yield problem(text, f"{_NUMBA_ANEW}  # until then: export DISTGRAD_FUSED=0")
    else:
        word = "compiled and run" if found["compiled"] else "read from the cache and run"
        yield ok(status, f"a kernel {word} in {spell_seconds(found['seconds'])}")
        yield from _cache(found)


def _cache(found: Mapping[str, Any]) -> Iterator[Finding]:
    for warning in found["warnings"]:
        yield problem(one_line(warning), "export DISTGRAD_CACHE=$HOME/.cache/distgrad-kernels")
    if found["folder"] is None:
        if not found["warnings"]:
            text = "compiled kernels are not kept: every process compiles its own"
            yield note(text, "unset DISTGRAD_CACHE  # it is off")
        return
    folder = Path(found["folder"])
    kind, _ = kind_of(folder.resolve())
    where = f"compiled kernels are kept in {shown(folder)} ({kind})"
    # This one's kernel, which the look at it has compiled, is no sign of a warm machine.
    if found["current"] <= 1:
        yield note(f"{where}, which is empty: first steps compile", "distgrad warm")
    else:
        count = f"{found['current']} of this version, {found['old']} of others"
        yield ok(where, f"{count}, {size_name(found['bytes'])}")
    if kind in NETWORK:
        text = f"{where}, on a file system of the network"
        disk = "${TMPDIR:-/tmp}/distgrad-$(id -u)"
        yield note(text, f"export DISTGRAD_CACHE={disk}  # a disk of the node")


# -- oneDNN -----------------------------------------------------------------------------------


def look_at_convolution() -> Iterator[Finding]:
    """Say what convolves."""
    if onednn.off():
        yield note(f"convolution by {kernels.convolution_by()}", "unset DISTGRAD_ONEDNN")
        return
    _, version = onednn.installed()
    if not version:
        text = f"convolution by {kernels.convolution_by()}"
        has_wheel = platform.system() == "Linux" and platform.machine() == "x86_64"
        yield note(text, _ONEDNN) if has_wheel else ok("convolution by im2col and BLAS")
        return
    found = tried("convolution")
    if "fault" in found or not found["loaded"]:
        why = found.get("fault") or found["road"]
        cure = (
            f"pip install --force-reinstall {onednn.WHEEL}  # needs libgomp: apt install libgomp1"
        )
        yield problem(f"oneDNN {version} is not used: {one_line(str(why))}", cure)
    else:
        also = "and Muon's products in bfloat16" if onednn.tiles() else ""
        yield ok(f"convolution by {kernels.convolution_by()}", also)
