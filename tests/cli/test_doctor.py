"""``distgrad doctor`` on one machine: what is broken is found and said, with what to type."""

import errno
import importlib.metadata
import os
import re
import resource
import threading
from itertools import count
from types import SimpleNamespace

import pytest
from findings import look, the_one
from jobs import LAUNCHER, ROOT

from distgrad import blas, cli, kernels
from distgrad.cli import (
    doctor,
    doctor_compute,
    doctor_machine,
    doctor_mpi,
    doctor_probe,
)
from distgrad.cli.doctor_finding import NOTE, OK, PROBLEM, examine, ok, tried
from distgrad.comm import launchers
from distgrad.errors import LaunchError
from distgrad.kernels import onednn
from distgrad.parallel import core_type, numerics


@pytest.fixture
def alone(monkeypatch):
    """Be a process that nobody launched, in an environment that chooses nothing."""
    for name in [k for k in os.environ if k.startswith((*LAUNCHER, "DISTGRAD_", "OPENBLAS_CORE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return monkeypatch


# -- no check stops another -----------------------------------------------------------------------


def test_an_exception_of_a_check_is_a_finding_beside_what_it_had_found():
    def check():
        yield ok("so far")
        raise ValueError("two\nlines")

    found = look(check)
    assert [f.text for f in found] == ["so far", "the check itself failed: ValueError: two lines"]
    assert [f.state for f in found] == [OK, PROBLEM]


def test_a_check_that_hangs_is_a_finding():
    never = threading.Event()

    def check():
        yield ok("so far")
        never.wait(30)

    found = examine("it", check, patience=0.2)
    never.set()
    assert [f.state for f in found] == [OK, PROBLEM]
    assert "has not come back for 0 s" in found[1].text


CRASHES = {
    "a signal": ("import os; os.kill(os.getpid(), 11)", r"ended by signal 11 \(SIGSEGV\)"),
    "a status": ("import sys; sys.exit('gone')", "ended with status 1: gone"),
    "leaving": ("import os; os._exit(0)", "ended with status 0"),
}


@pytest.mark.parametrize("name", CRASHES)
def test_code_of_others_that_ends_its_process_does_not_end_this_one(name, alone, tmp_path):
    code, said = CRASHES[name]
    (tmp_path / "numba.py").write_text(code)
    alone.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    finding = the_one(doctor_compute.look_at_kernels, state=PROBLEM)
    assert re.search(rf"numba cannot be used: it .*{said}", finding.text)


def test_code_of_others_that_hangs_is_left(alone, tmp_path):
    (tmp_path / "numba.py").write_text("import time; time.sleep(60)")
    alone.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    assert tried("numba", patience=2.0) == {"fault": "it has not come back for 2 s"}


def test_all_checks_are_shown_though_one_is_broken_and_the_status_is_1(alone, capsys):
    def broken():
        raise OSError(errno.EIO, "no disk")

    for module in (doctor_compute, doctor_mpi):
        alone.setattr(module, "tried", lambda probe: {"fault": "left out"})
    alone.setitem(doctor.PER_HOST, "clock", broken)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    for name in (*doctor.PER_RANK, *doctor.PER_HOST, "checkpoints", "MPI"):
        assert re.search(rf"^(ok|note|problem) +{name} ", said, re.MULTILINE), name
    assert "problem  clock          the check itself failed: OSError: [Errno 5] no disk" in said
    assert re.search(r"^\d+ problems", said.splitlines()[-1])


def test_what_is_as_it_should_be_is_status_0(alone, capsys):
    alone.setattr(doctor, "PER_RANK", {"this": lambda: [ok("fine", "1 s")]})
    alone.setattr(doctor, "PER_HOST", {})
    alone.setattr(doctor.mpi, "look_at_mpi", lambda: [ok("fine")])
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok       this           fine (1 s)"
    assert lines[-1] == "nothing is wrong"


# -- the machine --------------------------------------------------------------------------------


def test_a_package_that_lacks_is_named_with_its_installation(monkeypatch):
    version = importlib.metadata.version

    def without(name):
        if name == "mpi4py":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    finding = the_one(doctor_machine.look_at_versions, state=PROBLEM)
    assert finding.text.startswith("mpi4py is not installed; one process alone can do without")
    assert finding.cure == "pip install mpi4py"


def test_a_variable_that_nobody_reads_is_named(alone):
    alone.setenv("DISTGRAD_TUNNING", "off")
    finding = the_one(doctor_machine.look_at_variables, state=NOTE)
    assert finding.text == "DISTGRAD_TUNNING is no variable that distgrad reads"
    assert finding.cure == "unset DISTGRAD_TUNNING"


def test_every_variable_that_distgrad_reads_is_known_to_the_doctor():
    files = [*ROOT.glob("distgrad/**/*.py"), *(f for f in ROOT.glob("launch/**/*") if f.is_file())]
    read = {
        name for file in files for name in re.findall(r"\bDISTGRAD_[A-Z_]+\b", file.read_text())
    }
    assert read - {"DISTGRAD_TUNNING"} == doctor_machine.VARIABLES


def test_more_threads_than_cores_are_a_problem(alone):
    alone.setenv("OMP_NUM_THREADS", "4096")
    finding = the_one(doctor_machine.look_at_variables, state=PROBLEM)
    assert "OMP_NUM_THREADS=4096, and there are" in finding.text


def test_variables_that_a_launcher_or_library_sets_are_not_shown():
    said = doctor_machine.variables(
        {"OMPI_MCA_pml": "ob1", "OMPI_MCA_num_procs": "9", "HOME": "/h", "UCX_TLS": ""}
        | {"NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING": "1"}
    )
    assert said == {"OMPI_MCA_pml": "ob1"}


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Be in a control group whose files are given."""

    def make(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(doctor_machine, "_CGROUP", tmp_path)
        monkeypatch.setattr(doctor_machine, "_OWN_CGROUP", tmp_path / "own")

    return make


QUOTAS = {
    "version 2": ("0::/a/b\n", {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"}),
    "in a container": ("0::/not/seen\n", {"cpu.max": "150000 100000\n"}),
    "version 1": (
        "7:cpu,cpuacct:/d\n",
        {"cpu/d/cpu.cfs_quota_us": "150000", "cpu/d/cpu.cfs_period_us": "100000"},
    ),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_a_container_that_grants_fewer_cores_than_there_are_is_a_problem(name, groups, monkeypatch):
    groups(*QUOTAS[name])
    monkeypatch.setattr(launchers, "cores", lambda: 4)
    finding = the_one(doctor_machine.look_at_cores, state=PROBLEM)
    assert "grants 1.5 of these 4 cores" in finding.text
    assert finding.cure.startswith("distgrad run -n 1 ")
    monkeypatch.setattr(launchers, "cores", lambda: 1)
    assert not [f for f in look(doctor_machine.look_at_cores) if f.state == PROBLEM]


def test_no_limit_is_no_finding(groups):
    groups("0::/\n7:cpu:/\n", {"cpu.max": "max 100000", "cpu/cpu.cfs_quota_us": "-1"})
    assert doctor_machine.cpu_quota() is None


def test_others_that_compute_here_are_a_note(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 1.0, 1.0))
    assert the_one(doctor_machine.look_at_cores, state=NOTE).figures == "load 99.0"
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 99.0, 99.0))
    assert not [f for f in look(doctor_machine.look_at_cores) if f.state == NOTE]


@pytest.fixture
def meminfo(tmp_path, monkeypatch):
    def write(free, swapped=0):
        text = f"MemTotal: {8 << 20} kB\nMemAvailable: {free >> 10} kB\nSwapTotal: {4 << 20} kB\n"
        (tmp_path / "meminfo").write_text(text + f"SwapFree: {(4 << 20) - (swapped >> 10)} kB\n")
        monkeypatch.setattr(doctor_machine, "_MEMINFO", tmp_path / "meminfo")
        (tmp_path / "pages").write_text("always [madvise] never\n")
        monkeypatch.setattr(doctor_machine, "_LARGE_PAGES", tmp_path / "pages")

    return write


def test_little_memory_is_a_note_and_next_to_none_a_problem(meminfo, groups):
    groups("0::/\n", {})
    meminfo(4 << 30)
    assert [f.state for f in look(doctor_machine.look_at_memory)] == [OK]
    meminfo(900 << 20)
    assert the_one(doctor_machine.look_at_memory, state=NOTE).figures == "900 MiB free"
    meminfo(100 << 20)
    assert the_one(doctor_machine.look_at_memory, state=PROBLEM).figures == "100 MiB free"
    meminfo(4 << 30, swapped=2 << 30)
    assert the_one(doctor_machine.look_at_memory, state=NOTE).text == "memory is swapped to a disk"


def test_the_memory_that_a_container_grants_counts(meminfo, groups):
    meminfo(4 << 30)
    groups("0::/a\n", {"a/memory.max": f"{200 << 20}\n"})
    finding = the_one(doctor_machine.look_at_memory, state=PROBLEM)
    assert "8 GiB of memory, of which a control group" in finding.text
    assert "grants 200 MiB" in finding.text


def test_limits_of_a_process_are_notes(meminfo, groups, monkeypatch):
    meminfo(4 << 30)
    groups("0::/\n", {})
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (500, 500))
    cures = [f.cure for f in look(doctor_machine.look_at_memory) if f.state == NOTE]
    assert cures == ["ulimit -v unlimited", "ulimit -n 1024"]


def test_a_system_without_large_pages_is_a_note(meminfo, groups, tmp_path, monkeypatch):
    meminfo(4 << 30)
    groups("0::/\n", {})
    (tmp_path / "pages").write_text("always madvise [never]\n")
    assert "echo madvise" in the_one(doctor_machine.look_at_memory, state=NOTE).cure
    monkeypatch.setattr(doctor_machine, "_LARGE_PAGES", tmp_path / "none")
    assert [f.state for f in look(doctor_machine.look_at_memory)] == [OK]


def test_a_slow_clock_is_a_note_and_a_wrong_one_a_problem(monkeypatch):
    assert {f.state for f in look(doctor_machine.look_at_the_clock)} == {OK}
    ticks = count()
    clock = SimpleNamespace(
        perf_counter=lambda: next(ticks) * 1e-5,
        gmtime=lambda: SimpleNamespace(tm_year=1970),
        strftime=lambda form: "1970-01-01",
    )
    monkeypatch.setattr(doctor_machine, "time", clock)
    found = look(doctor_machine.look_at_the_clock)
    assert [f.state for f in found] == [NOTE, PROBLEM]
    assert "it is 1970-01-01, says the clock" in found[1].text


# -- what computes ------------------------------------------------------------------------------


def test_a_blas_that_is_wrong_or_forced_is_a_problem(monkeypatch):
    def wrong():
        raise LaunchError("the BLAS computes a wrong product")

    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setattr(blas, "cpu", lambda: blas.Cpu("GenuineIntel", 6, frozenset(blas._NEEDED)))
    monkeypatch.setattr(core_type, "kernels", lambda: {"Haswell"})
    assert the_one(doctor_compute.look_at_blas, state=PROBLEM).cure == "unset OPENBLAS_CORETYPE"
    monkeypatch.setattr(core_type, "kernels", lambda: {"SkylakeX"})
    monkeypatch.setattr(numerics, "self_test", wrong)
    finding = the_one(doctor_compute.look_at_blas, state=PROBLEM)
    assert finding.text == "the BLAS computes a wrong product"


def test_no_blas_is_a_note(monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(numerics, "fingerprint", lambda: {"BLAS": []})
    assert "no BLAS is known" in the_one(doctor_compute.look_at_blas, state=NOTE).text


NUMBAS = {
    "not there": ('raise ModuleNotFoundError("No module named \'numba\'", name="numba")', NOTE),
    "without llvmlite": ("import llvmlite_that_is_not_there", PROBLEM),
    "for another NumPy": ("raise ImportError('Numba needs NumPy 2.3 or less')", PROBLEM),
}


@pytest.mark.parametrize("name", NUMBAS)
def test_a_numba_that_is_absent_is_a_note_and_a_broken_one_a_problem(name, alone, tmp_path):
    code, state = NUMBAS[name]
    (tmp_path / "numba.py").write_text(code)
    alone.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    finding = the_one(doctor_compute.look_at_kernels, state=state)
    assert "fused kernels: reference only (numba cannot be imported: N" in finding.text
    anew = "pip install --force-reinstall numba llvmlite"
    assert finding.cure == ("pip install 'distgrad[fast]'" if state == NOTE else anew)


def test_kernels_that_are_turned_off_are_a_note(alone):
    alone.setenv("DISTGRAD_FUSED", "0")
    assert the_one(doctor_compute.look_at_kernels, state=NOTE).cure == "unset DISTGRAD_FUSED"


def test_a_cache_that_cannot_be_written_is_a_problem(alone, tmp_path):
    pytest.importorskip("numba")
    (tmp_path / "file").write_text("")
    alone.setenv("DISTGRAD_CACHE", str(tmp_path / "file"))
    finding = the_one(doctor_compute.look_at_kernels, state=PROBLEM)
    assert finding.text.startswith("compiled kernels are not kept: ")
    assert finding.cure.startswith("export DISTGRAD_CACHE=")


NUMBA = {"status": "numba 9", "right": True, "seconds": 0.1, "compiled": 1, "warnings": []}
KEPT = {"folder": "/a/b", "current": 200, "old": 3, "bytes": 4096}
CACHES = {
    "warm": ({}, OK, "kept in /a/b"),
    "empty": ({"current": 1}, NOTE, "which is empty: first steps compile"),
    "off": ({"folder": None}, NOTE, "not kept: every process compiles its own"),
    "wrong": ({"right": False}, PROBLEM, "a compiled kernel computes wrong numbers"),
}


@pytest.mark.parametrize("name", CACHES)
def test_what_a_kernel_does_and_where_it_is_kept_is_said(name, alone):
    more, state, text = CACHES[name]
    alone.setattr(doctor_compute, "tried", lambda probe: NUMBA | KEPT | more)
    assert [text in f.text for f in look(doctor_compute.look_at_kernels) if f.state == state][-1]


def test_the_probe_counts_the_kernels_of_this_version_and_of_others(tmp_path):
    for name, data in {"a": b"mine more", "b": b"mineX", "c": b"else", "lock": b"mine"}.items():
        (tmp_path / name).write_bytes(data)
    assert doctor_probe._kept(tmp_path, b"mine") == {"current": 2, "old": 1, "bytes": 18}


def test_who_multiplies_is_said_and_that_the_user_says_no_to_tiles(alone):
    alone.setattr(kernels, "products_by", lambda: ["in tiles (AMX)", "by oneDNN"])
    found = [f.text for f in look(doctor_compute.look_at_blas) if f.state == OK]
    assert found[-1] == "large products of float32 on one thread are computed in tiles (AMX)"
    alone.setenv("DISTGRAD_AMX", "0")
    notes = [f for f in look(doctor_compute.look_at_blas) if f.state == NOTE]
    assert "unset DISTGRAD_AMX" in {f.cure for f in notes}


def test_onednn_that_is_absent_or_off_is_a_note_and_a_broken_one_a_problem(alone):
    alone.setattr(onednn, "installed", lambda: ("", ""))
    finding = the_one(doctor_compute.look_at_convolution, state=NOTE)
    assert finding.cure == "pip install 'distgrad[onednn]'"
    alone.setattr(onednn, "installed", lambda: ("libdnnl.so", "3"))
    for answer in ({"fault": "it died"}, {"loaded": False, "road": "it died"}):
        alone.setattr(doctor_compute, "tried", lambda probe, answer=answer: answer)
        finding = the_one(doctor_compute.look_at_convolution, state=PROBLEM)
        assert finding.text == "oneDNN 3 is not used: it died"
    alone.setenv("DISTGRAD_ONEDNN", "0")
    assert the_one(doctor_compute.look_at_convolution, state=NOTE).cure == "unset DISTGRAD_ONEDNN"
