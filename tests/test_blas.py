"""Which kernels NumPy's OpenBLAS multiplies with, and what is said where they are slow ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import distgrad as dg
from distgrad import blas
from distgrad.blas import Cpu, cpu_of
from distgrad.parallel.core_type import advice_on

ROOT = Path(dg.__file__).parents[1]
AVX512 = frozenset({"sse2", "avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"})
ZEN5 = Cpu("AuthenticAMD", 26, AVX512)
ZEN4 = Cpu("AuthenticAMD", 25, AVX512)
ZEN3 = Cpu("AuthenticAMD", 25, frozenset({"sse2", "avx2"}))
INTEL = Cpu("GenuineIntel", 6, AVX512)
FORCED = {"OPENBLAS_CORETYPE": "Zen"}
OPENBLAS = any(i.get("internal_api") == "openblas" for i in threadpool_info())
openblas = pytest.mark.skipif(not OPENBLAS, reason="NumPy's BLAS is not OpenBLAS")

TWO_CORES = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9R14: 96 cores
power management:
flags\t\t: {flags}

processor\t: 1
vendor_id\t: SomebodyElse
cpu family\t: 3
"""


def test_the_cpu_is_the_first_core_that_the_system_names():
    assert cpu_of(TWO_CORES.format(flags=" ".join(sorted(AVX512)))) == ZEN4
    assert cpu_of("CPU implementer : 0x41\n") == cpu_of("") == Cpu()


def test_of_amds_family_25_those_with_avx512_are_the_ones_that_execute_it_in_halves():
    found = {name: cpu.halves_avx512 for name, cpu in globals().items() if isinstance(cpu, Cpu)}
    assert found == {"ZEN5": False, "ZEN4": True, "ZEN3": False, "INTEL": False}


class Library:
    """An OpenBLAS that counts how often it has looked at the CPU, and under which variable."""

    def __init__(self, kernels: str = "SkylakeX") -> None:
        self.kernels, self.looked = kernels, []

    def scipy_openblas_get_corename64_(self):
        return self.kernels.encode()

    def gotoblas_dynamic_quit(self):
        self.kernels = ""

    def gotoblas_dynamic_init(self):
        self.looked.append(os.environ["OPENBLAS_CORETYPE"])
        self.kernels = self.looked[-1]


class _Function:
    def __init__(self, call):
        self.call, self.restype = call, None

    def __call__(self):
        return self.call()


@pytest.fixture
def library(monkeypatch):
    """Return a Library that ``choose`` finds on a Zen 4, with functions that take attributes."""
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    made = Library()
    made.scipy_openblas_get_corename64_ = _Function(made.scipy_openblas_get_corename64_)
    monkeypatch.setattr(blas, "cpu", lambda: ZEN4)
    monkeypatch.setattr(blas, "_library", lambda: made)
    return made


def test_on_a_zen_4_the_avx2_kernels_take_the_place_of_openblass_own_choice(library):
    assert blas.choose()
    assert library.looked == ["Haswell"]
    assert "OPENBLAS_CORETYPE" not in os.environ  # children choose for themselves
    assert not blas.choose()  # they are there
    assert library.looked == ["Haswell"]


@pytest.mark.parametrize("cpu", [ZEN5, ZEN3, INTEL, Cpu()], ids=repr)
def test_on_another_cpu_openblas_chooses(library, cpu, monkeypatch):
    monkeypatch.setattr(blas, "cpu", lambda: cpu)
    assert not blas.choose()
    assert library.looked == []


def test_where_the_environment_names_the_kernels_they_stay(library):
    assert not blas.choose({"OPENBLAS_CORETYPE": "SkylakeX"})
    assert library.looked == []


def test_an_openblas_for_one_kind_of_cpu_and_another_blas_stay_as_they_are(library, monkeypatch):
    monkeypatch.delattr(Library, "gotoblas_dynamic_quit")
    assert not blas.choose()
    monkeypatch.setattr(blas, "_library", object)  # no OpenBLAS
    assert not blas.choose()
    monkeypatch.setattr(blas, "_library", lambda: None)
    assert not blas.choose()


def ran(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Return what a program printed that sees these variables of OpenBLAS."""
    environ = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


BITS = """
import {first}, {second}, hashlib, numpy as np
a = np.random.default_rng(0).standard_normal((130, 700), np.float32)
print(hashlib.sha256((a @ a.T[:, :33]).tobytes()).hexdigest())
from threadpoolctl import threadpool_info, threadpool_limits
print(*sorted(i["architecture"] for i in threadpool_info() if i["internal_api"] == "openblas"))
"""


@openblas
def test_bits_do_not_depend_on_whether_numpy_or_distgrad_was_imported_first():
    found = {
        ran(BITS.format(first=a, second=b)).stdout
        for a, b in (("numpy", "distgrad"), ("distgrad", "numpy"))
    }
    assert len(found) == 1
    kernels = found.pop().split()[1:]
    if blas.cpu().halves_avx512:
        assert kernels == ["Haswell"]
    elif blas.cpu().has_avx512:
        assert set(kernels) <= blas.AVX512


# -- what is said ---------------------------------------------------------------------------------


def test_old_kernels_by_command_are_named_with_both_speeds_and_the_cure():
    advice = advice_on(FORCED, ZEN5, {"Haswell"})
    assert "OPENBLAS_CORETYPE=Zen in the environment makes NumPy compute" in advice.problem
    assert "with Haswell kernels on a CPU with AVX-512, which has SkylakeX ones" in advice.problem
    assert "129 GF/s" in advice.problem
    assert "226 to 244" in advice.problem
    assert advice.cure == "unset OPENBLAS_CORETYPE"


def test_avx512_kernels_on_a_zen_4_are_named_with_both_speeds_and_the_cure():
    advice = advice_on({"OPENBLAS_CORETYPE": "SkylakeX"}, ZEN4, {"SkylakeX"})
    assert "OPENBLAS_CORETYPE=SkylakeX in the environment makes NumPy compute" in advice.problem
    assert "83 GF/s a core in place of 103" in advice.problem
    assert advice.cure == "export OPENBLAS_CORETYPE=Haswell"
    # An OpenBLAS whose kernels could not be exchanged.
    advice = advice_on({}, ZEN4, {"SkylakeX"})
    assert advice.problem.startswith("NumPy's OpenBLAS computes with SkylakeX kernels on a Zen 4")
    assert advice.cure == "export OPENBLAS_CORETYPE=Haswell"


@pytest.mark.parametrize(
    ("environ", "cpu", "kernels"),
    [
        ({}, ZEN5, {"SkylakeX"}),
        ({}, ZEN5, {"Haswell"}),  # OpenBLAS's own choice: no variable to unset
        ({}, ZEN4, {"Haswell"}),
        ({"OPENBLAS_CORETYPE": "Haswell"}, ZEN4, {"Haswell"}),
        ({}, ZEN4, {"Haswell", "SkylakeX"}),  # another package's OpenBLAS
        (FORCED, ZEN3, {"Haswell"}),  # the CPU has no better ones
        ({"OPENBLAS_CORETYPE": "SkylakeX"}, ZEN5, {"SkylakeX"}),
        ({"OPENBLAS_CORETYPE": "Cooperlake"}, INTEL, {"Cooperlake"}),
        (FORCED, INTEL, set()),  # another BLAS, which does not read the variable
        (FORCED, Cpu(), {"neoversen1"}),  # another kind of CPU
    ],
)
def test_nothing_is_said_where_nothing_would_be_gained(environ, cpu, kernels):
    assert advice_on(environ, cpu, kernels) is None


@openblas
def test_a_job_says_it_once_and_runs():
    cpu = blas.cpu()
    if not cpu.has_avx512:
        pytest.skip("this CPU has no AVX-512: it runs AVX2 kernels whatever is said")
    slow, fast = ("SkylakeX", "Haswell") if cpu.halves_avx512 else ("Haswell", "SkylakeX")
    program = (
        "import distgrad as dg\n"
        "from distgrad.comm import run_ranks\n"
        "for _ in range(2): run_ranks(3, dg.init)"
    )
    said = ran(program, OPENBLAS_CORETYPE=slow).stderr
    assert said.count(f"OPENBLAS_CORETYPE={slow}") == 1
    assert ran(program, OPENBLAS_CORETYPE=fast).stderr == ran(program).stderr == ""


@openblas
def test_it_says_its_kernels_and_threads():
    own = [i for i in threadpool_info() if i.get("internal_api") == "openblas"]
    assert blas.kernels() in {i["architecture"] for i in own}
    for count in (1, 2):
        with threadpool_limits(limits=count, user_api="blas"):
            assert blas.threads() in (1, count)  # a build without threads has one
