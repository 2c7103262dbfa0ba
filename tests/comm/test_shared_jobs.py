"""Shared memory and messages in real jobs: what is left behind, what is missing, what piles up."""

import mmap
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from jobs import ROOT, mpirun, run_job

from distgrad.comm import shared_memory

JOBS = Path(__file__).parent / "jobs"


def leftovers():
    # Open MPI's mpirun removes that MPI's own files, MPICH's mpiexec does not.
    return {p for name in ("distgrad-*", "mpich_*") for p in Path("/dev/shm").glob(name)}


def all_gone_but(before):
    """Whether nothing is left but what was there; other jobs of this machine may need a moment."""
    deadline = time.monotonic() + 20
    while leftovers() - before and time.monotonic() < deadline:
        time.sleep(0.2)
    return leftovers() <= before


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_segment_has_no_name_once_all_have_opened_it(ranks):
    before = leftovers()
    done = run_job(ranks, JOBS / "in_shm.py", "through")
    assert done.status == 0, done.err
    assert "shares True in one node True\narrays True named []" in done.out
    assert all_gone_but(before)


def test_a_rank_killed_with_sigkill_leaves_nothing_in_dev_shm():
    before = leftovers()
    done = run_job(3, JOBS / "in_shm.py", "killed")
    assert done.status != 0
    assert "arrays True named []" in done.out
    assert all_gone_but(before)


def test_what_a_process_has_mapped_loses_its_name_and_nothing_else_does():
    prefix = f"distgrad-test-{os.getpid()}-"
    names = [prefix + "mapped", prefix + "other", f"other-{prefix}mapped"]
    mapped, other, elsewhere = [shared_memory.create(name, 4096) for name in names]
    del other
    try:
        shared_memory.unlink_mapped(prefix)
        assert [Path("/dev/shm", name).exists() for name in names] == [False, True, True]
        mapped[:4] = b"kept"
        shared_memory.unlink_mapped(prefix)  # as by the next rank of a node
    finally:
        for name in names[1:]:
            shared_memory.unlink(name)
    assert mapped[:4] == b"kept"
    assert elsewhere[:4] == bytes(4)


@pytest.mark.parametrize("nbytes", [4096, (2 << 20) + 12, 5 << 20])
def test_memory_for_several_is_mapped_where_large_pages_can_be(nbytes):
    name = shared_memory.new_name()
    maps = [shared_memory.create(name, nbytes), shared_memory.attach(name, nbytes)]
    shared_memory.unlink(name)
    one, other = (np.frombuffer(m, np.uint8, nbytes) for m in maps)
    one[:] = np.arange(nbytes) % 251
    assert np.array_equal(one, other)
    if nbytes >= 2 << 20:
        assert all(a.ctypes.data % (2 << 20) == 0 for a in (one, other))
        text = Path("/proc/self/smaps").read_text().partition(name)[2]
        pages = re.search(r"ShmemPmdMapped:\s+(\d+) kB", text)
        if not large_pages_are_given():
            pytest.skip("this system has no large pages for shared memory")
        assert int(pages.group(1)) << 10 == nbytes // (2 << 20) * (2 << 20)


def large_pages_are_given():
    """Whether this system puts memory into large pages at once when told to (Linux 6.1)."""
    memory = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = -np.frombuffer(memory, np.uint8).ctypes.data % (2 << 20)
    memory[start] = 1
    try:
        memory.madvise(25, start, 2 << 20)
    except OSError:
        return False
    return True


def in_a_container(megabytes, command):
    """Run a command where /dev/shm is small, as in a container."""
    if shutil.which("unshare") is None or os.geteuid():
        pytest.skip("needs root and util-linux's unshare to mount a small /dev/shm")
    mount = f"mount -t tmpfs -o size={megabytes}m shm /dev/shm"
    probe = subprocess.run(["unshare", "--mount", "sh", "-c", mount], check=False)
    if probe.returncode:
        pytest.skip("this machine does not allow a mount of its own")
    script = f'{mount} && exec "$@"'
    support = os.pathsep.join(map(str, (ROOT, ROOT / "tests/support")))
    environment = {**os.environ, "PYTHONPATH": support}
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.parametrize(
    ("megabytes", "shares", "arrays"), [(3, False, False), (7, True, False), (64, True, True)]
)
def test_a_small_dev_shm_is_said_once_and_messages_take_over(megabytes, shares, arrays):
    command = [*mpirun(2), sys.executable, str(JOBS / "in_shm.py"), "through"]
    # MPI's own segments would not fit either; MPICH always has one, of 1 MiB a rank.
    tcp = ["env", "OMPI_MCA_pml=ob1", "OMPI_MCA_btl=self,tcp", "UCX_TLS=self,tcp"]
    tcp.append("MPIR_CVAR_CH4_SHM_POSIX_IQUEUE_NUM_CELLS=4")
    done = in_a_container(megabytes, [*tcp, *command])
    assert done.returncode == 0, done.stderr
    assert f"shares {shares} in one node {shares}\narrays {arrays} named []" in done.stdout
    warned = done.stderr.count("shared memory cannot be had")
    assert warned == (0 if arrays else 1), done.stderr


@pytest.mark.parametrize("algorithm", ["ring", "tree"])
@pytest.mark.parametrize("who", ["sender", "both"])
def test_a_receiver_that_sleeps_keeps_at_most_its_slices_of_what_was_begun(algorithm, who):
    begun = 40  # MiB in all; the receiver's half of each is 20
    done = run_job(2, JOBS / "sleeper.py", algorithm, str(begun), who)
    assert done.status == 0, done.err
    gained = float(done.out.split()[-1])
    assert gained < begun / 2 + 8, done.out
