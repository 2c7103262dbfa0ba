"""One line where the environment forces older BLAS kernels than the CPU has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

import distgrad as dg
from distgrad.parallel.core_type import slower_than_needed

ROOT = Path(dg.__file__).parents[1]
ZEN5 = {"sse2", "avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
ZEN3 = {"sse2", "avx2"}
FORCED = {"OPENBLAS_CORETYPE": "Zen"}


def test_the_variable_both_speeds_and_the_cure_are_named() -> None:
    said = slower_than_needed(FORCED, ZEN5, {"Haswell"})
    assert "OPENBLAS_CORETYPE=Zen in the environment" in said
    assert "with Haswell kernels on a CPU with AVX-512, which has SkylakeX ones" in said
    assert "129 GF/s" in said
    assert "226 to 244" in said
    assert "`unset OPENBLAS_CORETYPE`" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("environ", "flags", "kernels"),
    [
        ({}, ZEN5, {"SkylakeX"}),
        ({}, ZEN5, {"Haswell"}),  # OpenBLAS's own choice: no variable to unset
        (FORCED, ZEN3, {"Haswell"}),  # the CPU has no better ones
        ({"OPENBLAS_CORETYPE": "SkylakeX"}, ZEN5, {"SkylakeX"}),
        ({"OPENBLAS_CORETYPE": "Cooperlake"}, ZEN5, {"Cooperlake"}),
        (FORCED, ZEN5, set()),  # another BLAS, which does not read the variable
        (FORCED, set(), {"neoversen1"}),  # another kind of CPU
    ],
)
def test_nothing_is_said_where_nothing_would_be_gained(environ, flags, kernels) -> None:
    assert slower_than_needed(environ, flags, kernels) == ""


def init_under(core_type: str) -> str:
    """Return what three simulated ranks say that call dg.init twice under this core type."""
    program = (
        "import distgrad as dg\n"
        "from distgrad.comm import run_ranks\n"
        "for _ in range(2): run_ranks(3, dg.init)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_CORETYPE": core_type},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stderr


def test_a_job_says_it_once_and_runs() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    if not flags >= ZEN5:
        pytest.skip("this CPU has no AVX-512: no core type is older than it")
    if not any(i.get("internal_api") == "openblas" for i in threadpool_info()):
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    assert init_under("Haswell").count("OPENBLAS_CORETYPE=Haswell") == 1
    assert init_under("SkylakeX") == ""
